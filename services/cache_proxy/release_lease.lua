-- Gives a lease back, unless it has expired and somebody else holds it by now.
-- KEYS[1] the lease. ARGV[1] the token it was taken with. Returns 1 when it was ours, else 0.
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
