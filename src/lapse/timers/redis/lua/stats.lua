-- Count the deadlines in each state. A deadline whose lease has ended counts as pending and due.
-- KEYS    pending leased lease graves
-- ARGV    none
-- Output  {now, pending, due, claimed, buried, oldest due or '', next due or ''}
local pending, leased, lease, buried_at = unpack(KEYS)
local now = now_ms()
local ended = redis.call('ZCOUNT', leased, '-inf', now)
local due = redis.call('ZCOUNT', pending, '-inf', now)
local oldest = due > 0 and redis.call('ZRANGE', pending, 0, 0, 'WITHSCORES')[2] or ''
if ended > 0 then
  -- Of the leases that have ended, only the first to end is read: finding the oldest deadline would mean reading all.
  local first = redis.call('HGET', lease, redis.call('ZRANGE', leased, 0, 0)[1])
  local since = first and string.match(first, ':(-?%d+)$')
  if since and (oldest == '' or tonumber(since) < tonumber(oldest)) then
    oldest = since
  end
end
local upcoming = redis.call('ZRANGE', pending, due, due, 'WITHSCORES')[2] or ''
return {
  now,
  redis.call('ZCARD', pending) + ended,
  due + ended,
  redis.call('ZCARD', leased) - ended,
  redis.call('ZCARD', buried_at),
  oldest,
  upcoming,
}
