# Parts a lock in two files, OUTexcepted.txt and OUTothers.txt: the packages whose names are given, and the rest.
# A requirement starts at the margin with its name; its hashes and its origin are indented below it.
BEGIN {
  count = split(names, list, /[ \n]+/)
  for (i = 1; i <= count; i++) excepted[list[i]] = 1
}
/^[a-z0-9]/ {
  name = $0
  sub(/[^a-z0-9-].*/, "", name)
  part = (name in excepted) ? "excepted" : "others"
}
{ print > (out part ".txt") }
