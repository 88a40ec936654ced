-- Arm deadlines. Everything that was stored about their keys is deleted.
-- KEYS    pending leased lease retry graves buried
-- ARGV    channel, then due and key for each
-- Output  now
local pending, leased, lease, retry, buried_at, buried = unpack(KEYS)
local before = head(pending)
if redis.call('EXISTS', leased, retry, buried_at) > 0 then
  local keys = {}
  for i = 3, #ARGV, 2 do
    keys[#keys + 1] = ARGV[i]
  end
  redis.call('ZREM', leased, unpack(keys))
  redis.call('HDEL', lease, unpack(keys))
  redis.call('HDEL', retry, unpack(keys))
  redis.call('ZREM', buried_at, unpack(keys))
  redis.call('HDEL', buried, unpack(keys))
end
redis.call('ZADD', pending, unpack(ARGV, 2))
wake(ARGV[1], pending, before)
return now_ms()
