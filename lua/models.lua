-- models: which models have a rotation of their own? Reads, and changes nothing.
--
-- KEYS  1..      models     SET   of each pool in question
-- ARGV           none
-- returns        for each pool its models, in no order; "" stands for calls without one
-- cost           1 command a pool, whose names are as many as registrations let in
local answer = {}
for i = 1, #KEYS do
  answer[i] = redis.call('SMEMBERS', KEYS[i])
end
return answer
