-- Priority: the lowest number first, the next only where none of it has room; round robin among equals. A place is that of
-- round robin, a large step higher for each number. `turn.last` has the highest place granted
-- of each number: `;0=2.5;1=0.5;`.
function orders.priority()
  local STEP = 1e11

  local function entry(member)
    return ';' .. member.priority .. '=([^;]+);'
  end

  local function last_of(turn, member)
    return tonumber(string.match(turn.last, entry(member))) or 0
  end

  local function above(member, place)
    return member.priority * STEP + math.floor(place + 0.5) + 0.5
  end

  return {
    after = function(member, place)
      return above(member, place - member.priority * STEP)
    end,
    due = function(turn, member)
      return above(member, last_of(turn, member))
    end,
    at = orders.same,
    granted = function(turn, member, place)
      local last = math.max(last_of(turn, member), place - member.priority * STEP)
      local known = turn.last == '0' and ';' or turn.last
      local others = string.gsub(known, entry(member), ';')
      turn.last = others .. string.format('%d=%.17g;', member.priority, last)
      return above(member, last)
    end,
  }
end
