-- Delete everything that is stored about keys, in every state.
-- KEYS    pending leased lease retry graves buried
-- ARGV    the keys
-- Output  nothing
local pending, leased, lease, retry, buried_at, buried = unpack(KEYS)
redis.call('ZREM', pending, unpack(ARGV))
redis.call('ZREM', leased, unpack(ARGV))
redis.call('HDEL', lease, unpack(ARGV))
redis.call('HDEL', retry, unpack(ARGV))
redis.call('ZREM', buried_at, unpack(ARGV))
redis.call('HDEL', buried, unpack(ARGV))
