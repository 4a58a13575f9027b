-- memory: how full is this Redis, and what does it do when it is? Reads, and changes nothing.
--
-- KEYS  1        any        of this namespace: the node of a cluster that it lies on is asked
-- ARGV           none
-- returns        {bytes used, bytes at most (0: no bound), maxmemory-policy}; {} where Redis does not say
-- cost           1 command, INFO
--@ use memory
return memory.read() or {}
