-- Arm those deadlines whose keys are not pending, leased or buried.
-- KEYS    pending leased graves
-- ARGV    channel, then due and key for each
-- Output  now
local pending, leased, buried_at = unpack(KEYS)
local before = head(pending)
local keys, new = {}, {}
for i = 3, #ARGV, 2 do
  keys[#keys + 1] = ARGV[i]
end
local leased_scores = redis.call('ZMSCORE', leased, unpack(keys))
local buried_scores = redis.call('ZMSCORE', buried_at, unpack(keys))
for i, key in ipairs(keys) do
  if not leased_scores[i] and not buried_scores[i] then
    new[#new + 1] = ARGV[2 * i]
    new[#new + 1] = key
  end
end
if #new == 0 then
  return now_ms()
end
redis.call('ZADD', pending, 'NX', unpack(new))
wake(ARGV[1], pending, before)
return now_ms()
