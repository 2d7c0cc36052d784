-- gateway/rate_limit/sliding_window.py as one atomic operation.
-- KEYS[1] the client's "start previous current". ARGV and answer as in gcra.lua.
-- Divisions are taken apart so that every product stays below 2^53, where Lua's numbers are exact.
local interval, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local window = burst * interval
local start = now - now % window
local left = start + window - now
local held, previous, current = string.match(redis.call('GET', KEYS[1]) or '', '(%d+) (%d+) (%d+)')
held, previous, current = tonumber(held), tonumber(previous), tonumber(current)
if held ~= start then
    previous, current = held == start - window and current or 0, 0
end
-- previous * left / window, rounded up, with left as whole intervals and a part of one
local scaled, part = previous * math.floor(left / interval), left % interval
local weight = math.floor(scaled / burst) + math.ceil((scaled % burst * interval + previous * part) / window)
local room = burst - current - weight
if room >= 1 then
    local state = string.format('%.0f %.0f %.0f', start, previous, current + 1)
    redis.call('SET', KEYS[1], state, 'PX', math.ceil((left + window) / 1000))
    return {1, room - 1, 0, left + window}
end
local full = left + (current > 0 and window or 0)
if current == burst then
    return {0, 0, left + interval, full}
end
-- left - (burst - current - 1) * window / previous, with the quotient rounded down
scaled = (burst - current - 1) * burst
local covered = math.floor(scaled / previous) * interval + math.floor(scaled % previous * interval / previous)
return {0, 0, left - covered, full}
