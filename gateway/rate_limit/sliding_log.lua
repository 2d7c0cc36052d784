-- gateway/rate_limit/sliding_log.py as one atomic operation.
-- KEYS[1] the client's log, a list, oldest first. ARGV and answer as in gcra.lua.
local interval, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local window = burst * interval
local oldest = redis.call('LINDEX', KEYS[1], 0)
while oldest and tonumber(oldest) <= now - window do
    redis.call('LPOP', KEYS[1])
    oldest = redis.call('LINDEX', KEYS[1], 0)
end
local count = redis.call('LLEN', KEYS[1])
if count >= burst then
    return {0, 0, oldest + window - now, redis.call('LINDEX', KEYS[1], -1) + window - now}
end
redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
return {1, burst - count - 1, 0, window}
