-- Append messages to a stream, unless the stream has lost messages the caller knows were in it.
--
-- KEYS[1]           the stream
-- ARGV[1], ARGV[2]  the last id the caller knows, as milliseconds and sequence number
-- ARGV[3...]        key, payload and traceparent of each message; none: only look
--
-- Returns {0, id, id, ...} with the id of each message, or {1, last id of the stream}.
-- One script, because Redis could lose its data between a look and an append of their own.
local last = '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then last = info[i + 1] end
    end
end
local ms, seq = string.match(last, '(%d+)-(%d+)')
ms, seq = tonumber(ms), tonumber(seq)
local known_ms, known_seq = tonumber(ARGV[1]), tonumber(ARGV[2])
if ms < known_ms or (ms == known_ms and seq < known_seq) then return {1, last} end

local reply = {0}
for i = 3, #ARGV, 3 do
    reply[#reply + 1] = redis.call(
        'XADD', KEYS[1], '*', 'key', ARGV[i], 'payload', ARGV[i + 1], 'traceparent', ARGV[i + 2])
end
return reply
