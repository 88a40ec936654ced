-- Return the claimed deadlines that fire, because their keys are gone. The other deadlines have moved.
-- KEYS    pending leased lease retry fired
-- ARGV    token, channel, prefix, how long to remember a firing in ms, the keys
-- Output  the keys that fire
--
-- Like learn.lua, this reads keys that KEYS does not have. Reading a key whose time has come deletes the key, so that
-- all subscribers learn at once that it expired.
local pending, leased, lease, retry, fired = unpack(KEYS)
local prefix, remembered = ARGV[3], tonumber(ARGV[4])
local now = now_ms()
local before = head(pending)
local fire, firings, moved, later = {}, {}, {}, {}
for _, item in ipairs(held(lease, ARGV[1], now, 5)) do
  local key = item[1]
  local expires = expires_at(prefix .. key)
  if expires == -2 then
    fire[#fire + 1] = key
    firings[#firings + 1] = whole(now)
    firings[#firings + 1] = key
  else
    moved[#moved + 1] = item
    if expires >= 0 then
      later[#later + 1] = whole(expires + 1)
      later[#later + 1] = key
    end
  end
end
if #moved > 0 then
  end_leases(leased, lease, moved)
end
if #later > 0 then
  redis.call('ZADD', pending, unpack(later))
  wake(ARGV[2], pending, before)
end
if #fire > 0 then
  -- Remember the firings, so that the event of a key that has just expired does not make it fire again.
  redis.call('ZADD', fired, unpack(firings))
  local old = redis.call('ZRANGEBYSCORE', fired, '-inf', whole(now - remembered), 'LIMIT', 0, 2 * #fire + 10)
  if #old > 0 then
    redis.call('ZREM', fired, unpack(old))
  end
end
return fire
