-- Forget keys, whatever state they are in.
-- KEYS    pending leased lease retry graves buried
-- ARGV    the keys
-- Output  nothing
local pending, leased, lease, retry, graves, buried = unpack(KEYS)
redis.call('ZREM', pending, unpack(ARGV))
redis.call('ZREM', leased, unpack(ARGV))
redis.call('HDEL', lease, unpack(ARGV))
redis.call('HDEL', retry, unpack(ARGV))
redis.call('ZREM', graves, unpack(ARGV))
redis.call('HDEL', buried, unpack(ARGV))
