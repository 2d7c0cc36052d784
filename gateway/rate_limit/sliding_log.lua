-- gateway/rate_limit/sliding_log.py as one atomic operation.
-- KEYS[1] the client's log, a list, oldest first. ARGV and answer as in gcra.lua.
local interval, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local window = burst * interval
local function left(index)
    local moment = redis.call('LINDEX', KEYS[1], index)
    return moment and tonumber(moment) <= now - window
end
-- how many have left the window: by bisection, for a burst leaves as it came, at once
local count = redis.call('LLEN', KEYS[1])
local gone, most = 0, left(0) and count or 0
while gone < most do
    local middle = math.floor((gone + most) / 2)
    if left(middle) then gone = middle + 1 else most = middle end
end
if gone > 0 then
    redis.call('LTRIM', KEYS[1], gone, -1)
    count = count - gone
end
if count >= burst then
    local oldest = redis.call('LINDEX', KEYS[1], 0)
    return {0, 0, oldest + window - now, redis.call('LINDEX', KEYS[1], -1) + window - now}
end
redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
return {1, burst - count - 1, 0, window}
