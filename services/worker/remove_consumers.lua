-- Remove consumers that have nothing pending and have not been heard of for a while.
--
-- KEYS[1]  the stream
-- ARGV[1]  the group
-- ARGV[2]  milliseconds without a sign of life
-- ARGV[3]  only the consumer of this name; '' for all
--
-- Returns how many were removed.
-- One script, because removing a consumer forgets what it has pending: an entry it read after a look would be lost.
local removed = 0
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local consumer = {}
    for i = 1, #row, 2 do consumer[row[i]] = row[i + 1] end
    local named = ARGV[3] == '' or consumer['name'] == ARGV[3]
    if named and consumer['pending'] == 0 and consumer['idle'] >= tonumber(ARGV[2]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer['name'])
        removed = removed + 1
    end
end
return removed
