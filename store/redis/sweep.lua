-- Frees what has expired by a time. KEYS: the index, the index by end. ARGV: what records' names begin with, the time,
-- and how many at most.
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for _, key in ipairs(gone) do
	redis.call('DEL', ARGV[1] .. key)
	redis.call('ZREM', KEYS[1], key)
	redis.call('ZREM', KEYS[2], key)
end
return #gone
