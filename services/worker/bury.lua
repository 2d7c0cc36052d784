-- Move an entry from the stream to the dead letters.
--
-- KEYS[1], KEYS[2]  the stream, the stream of dead letters
-- ARGV[1], ARGV[2]  the group, the entry's id
-- ARGV[3...]        fields and values of the dead letter
--
-- Returns 1, or 0 when the entry was not pending any more: somebody else has finished or buried it.
-- One script, because an entry acknowledged but not yet buried would be lost, and one buried twice would be two.
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
