-- gateway/rate_limit/token_bucket.py as one atomic operation.
-- KEYS[1] the client's "level at". ARGV and answer as in gcra.lua.
local interval, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local full = burst * interval
local held, at = string.match(redis.call('GET', KEYS[1]) or '', '(%d+) (%d+)')
local level = held and math.min(full, held + math.max(0, now - at)) or full
local admitted = level >= interval
if admitted then
    level = level - interval
end
redis.call('SET', KEYS[1], string.format('%.0f %.0f', level, now), 'PX', math.ceil((full - level) / 1000))
if admitted then
    return {1, math.floor(level / interval), 0, full - level}
end
return {0, 0, interval - level, full - level}
