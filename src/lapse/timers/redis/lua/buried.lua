-- List the buried deadlines, the longest buried first.
-- KEYS    graves buried
-- ARGV    how many to skip, how many to list at most
-- Output  key, time of burial, and "attempt:due:reason" for each
local buried_at, buried = unpack(KEYS)
local answer = {}
local listed = redis.call('ZRANGEBYSCORE', buried_at, '-inf', '+inf', 'WITHSCORES', 'LIMIT', ARGV[1], ARGV[2])
for i = 1, #listed, 2 do
  answer[#answer + 1] = listed[i]
  answer[#answer + 1] = listed[i + 1]
  answer[#answer + 1] = redis.call('HGET', buried, listed[i]) or ('0:' .. listed[i + 1] .. ':')
end
return answer
