-- gateway/rate_limit/fixed_window.py as one atomic operation.
-- KEYS[1] the client's "start count". ARGV and answer as in gcra.lua.
local interval, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local window = burst * interval
local start = now - now % window
local left = start + window - now
local held, count = string.match(redis.call('GET', KEYS[1]) or '', '(%d+) (%d+)')
count = tonumber(held) == start and tonumber(count) or 0
if count >= burst then
    return {0, 0, left, left}
end
redis.call('SET', KEYS[1], string.format('%.0f %.0f', start, count + 1), 'PX', math.ceil(left / 1000))
return {1, burst - count - 1, 0, left}
