-- gateway/rate_limit/gcra.py as one atomic operation.
-- KEYS[1] the client's TAT. ARGV: interval, burst, now (all in microseconds; now may be '' for Redis's own clock,
-- which all gateways share). Returns admitted (1 or 0), remaining, retry_after, full_after.
local interval, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local held = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now), now + burst * interval)
local pushed = held + interval
local excess = pushed - burst * interval - now
local tat = excess > 0 and held or pushed
redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000))
if excess > 0 then
    return {0, 0, excess, held - now}
end
return {1, math.floor(-excess / interval), 0, pushed - now}
