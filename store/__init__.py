"""Keep mail, and everything else that must survive, in one SQL database.

IN        values of `mail`; rows as frozen records
OUT       frozen records; octets exactly as they were stored
MAY       read and write the database and its lock file; nothing else
NEVER     answer before the commit; change stored octets; let a connection or row escape
FAILS     StorageBusy, StorageFull, OverQuota, NoSuchMessage, MessageDamaged, NotFound, NameTaken
RFC       1939 section 4 (the maildrop), 5321 section 6.1 (the responsibility taken by 250)

Storage layout: a message is a `prefix` of trace lines of its own, in its row, then a `body` that
all recipients of the arrival share, as zstd frames in `body_chunk` rows.

Commit order: body, chunks, message rows and maildrop counters are one transaction, and many
waiting arrivals share one commit (`writer.py`). Removing runs through the trash: the rows stay
until their time is over, so that a session which lists a message can still read it.

Every public method is one transaction at most, in one thread hop. `database.py` alone knows the
engine; `schema.py` alone knows the tables' types.
"""
