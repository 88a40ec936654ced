-- Bury claimed deadlines: they stay until an operator revives or disarms them.
-- KEYS    leased lease graves buried
-- ARGV    token, reason, the keys
-- Output  how many claims were still held
local leased, lease, buried_at, buried = unpack(KEYS)
local now = now_ms()
local owned = held(lease, ARGV[1], now, 3)
if #owned == 0 then
  return 0
end
end_leases(leased, lease, owned)
for _, item in ipairs(owned) do
  local key, attempt, due = unpack(item)
  redis.call('ZADD', buried_at, whole(now), key)
  redis.call('HSET', buried, key, attempt .. ':' .. due .. ':' .. ARGV[2])
end
return #owned
