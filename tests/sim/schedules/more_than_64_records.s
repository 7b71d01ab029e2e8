# Recovery has a row of 64 slots. When it filled, the record at which the journal paused was passed
# over: of 90 acknowledged writes in the journal one read as what was there before.
seed 3
journal 1024
ops 90*write-one
kill 1
