-- Who waits for a request in flight to end, over all replicas, as pairs in the order of coming: a ticket, and when its
-- holder last asked. A ticket is the moment at which its request came, so it is as good after it was forgotten.
--
-- The order is kept by letting those who came before look first: a key is granted to nobody while someone with an
-- earlier ticket has not asked since a place of it was given back. Who asked and could not use it (its tokens are too
-- few, it has tried the key) holds up nobody behind; nor does, for longer than PATIENCE, one whose replica has died.
local line = { PATIENCE = 1e6 }

-- The line without those who are gone and without the holder of this ticket, as a list.
local function others(text, ticket, now)
  local list = {}
  for i = 1, #text, PAIR do
    local came, asked = number_at(text, i), number_at(text, i + 16)
    if came ~= ticket and asked + line.PATIENCE > now then
      list[#list + 1] = { came, asked }
    end
  end
  return list
end

-- Whether somebody who came before `came` is to look first at a key that gave back a place at `freed`.
function line.has_earlier(text, came, freed, now)
  for _, other in ipairs(others(text, came, now)) do
    if other[1] >= came then
      return false
    end
    if other[2] < freed then
      return true
    end
  end
  return false
end

-- The first ticket from `came` on that nobody in these lines has.
function line.free(texts, came)
  for _, text in ipairs(texts) do
    for i = 1, #(text or ''), PAIR do
      if number_at(text, i) == came then
        return line.free(texts, came + 1)
      end
    end
  end
  return came
end

-- The line with the holder of this ticket in it, who asks now; or, not `stands`, without.
function line.with(text, ticket, stands, now)
  local list, written = others(text, ticket, now), ''
  if stands then
    list[#list + 1] = { ticket, now }
  end
  table.sort(list, function(one, other)
    return one[1] < other[1]
  end)
  for _, pair in ipairs(list) do
    written = written .. digits(pair[1]) .. digits(pair[2])
  end
  return written
end
