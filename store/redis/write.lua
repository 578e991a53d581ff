-- Put, put if absent and swap. KEYS: the record, the index, the index by end. ARGV: the key, the time, the end, the
-- record, what must be so, and the old value of a swap. A record that is there already is this call's own, repeated.
local was = redis.call('GET', KEYS[1])
if ARGV[5] ~= 'put' and was ~= ARGV[4] then
	local live = false
	if was then
		local expiry = tonumber(string.sub(was, 1, 16))
		live = expiry == 0 or tonumber(ARGV[2]) < expiry
	end
	if ARGV[5] == 'absent' and live then return 0 end
	if ARGV[5] == 'swap' and not (live and string.sub(was, 25) == ARGV[6]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
if ARGV[3] == '0' then
	redis.call('ZREM', KEYS[3], ARGV[1])
else
	redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
end
return 1
