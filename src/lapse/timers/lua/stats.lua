-- Count. A lease that has ended counts as pending and due.
-- KEYS    pending leased graves
-- ARGV    none
-- Output  {now, pending, due, claimed, buried, oldest due or '', next due or ''}
local pending, leased, graves = unpack(KEYS)
local now = now_ms()
local ended = redis.call('ZCOUNT', leased, '-inf', now)
local due = redis.call('ZCOUNT', pending, '-inf', now)
local oldest = due > 0 and redis.call('ZRANGE', pending, 0, 0, 'WITHSCORES')[2] or ''
local upcoming = redis.call('ZRANGE', pending, due, due, 'WITHSCORES')[2] or ''
return {
  now,
  redis.call('ZCARD', pending) + ended,
  due + ended,
  redis.call('ZCARD', leased) - ended,
  redis.call('ZCARD', graves),
  oldest,
  upcoming,
}
