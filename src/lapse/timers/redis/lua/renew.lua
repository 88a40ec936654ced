-- Renew leases: they run from now again.
-- KEYS    leased lease
-- ARGV    token, lease in ms, the keys
-- Output  {end of the leases, then each key that was still held}
local leased, lease = unpack(KEYS)
local token, lease_ms = ARGV[1], tonumber(ARGV[2])
local now = now_ms()
local ends = whole(now + lease_ms)
local answer = { ends }
for i, item in ipairs(held(lease, token, now, 3)) do
  local key, attempt, due = unpack(item)
  redis.call('ZADD', leased, ends, key)
  redis.call('HSET', lease, key, token .. ':' .. ends .. ':' .. attempt .. ':' .. due)
  answer[i + 1] = key
end
return answer
