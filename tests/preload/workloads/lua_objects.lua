-- Tables, strings, closures and coroutines that come and go; a checksum as the result.
-- usage: lua_objects.lua ROUNDS
local sum = 0
local function add(text)
	for i = 1, #text, 7 do
		sum = (sum * 31 + text:byte(i)) % 4294967296
	end
end

for round = 1, tonumber(arg[1]) do
	local rows = {}
	for i = 1, 20000 do
		rows[i] = { name = "row " .. i * round, values = { i, i * 2, i * 3 } }
	end
	for i = 1, #rows, 3 do
		rows[i] = nil
	end
	local texts = {}
	for i = 2, 20000, 3 do
		texts[#texts + 1] = rows[i] and rows[i].name or "none"
	end
	table.sort(texts)
	add(table.concat(texts, ","))
	local produce = coroutine.wrap(function()
		for i = 1, 2000 do
			coroutine.yield(string.rep("x", i % 300) .. i)
		end
	end)
	for _ = 1, 2000 do
		add(produce())
	end
	add(table.concat(texts):gsub("row", "line"))
end
print(sum)
