-- written by watchconv 0.1.0; frozen
BEGIN TRANSACTION;
CREATE TABLE attempt (
    job INTEGER NOT NULL, run INTEGER NOT NULL, engine TEXT NOT NULL, owner TEXT NOT NULL,
    began REAL NOT NULL, ended REAL, outcome TEXT, cause TEXT, seconds REAL NOT NULL DEFAULT 0,
    cpu_seconds REAL, peak_memory_bytes INTEGER, media_seconds REAL,
    PRIMARY KEY (job, run)
) WITHOUT ROWID;
INSERT INTO "attempt" VALUES(1,1,'local','',2000.0,2012.5,'encoded',NULL,12.5,25.0,50000000,60.0);
INSERT INTO "attempt" VALUES(2,1,'local','',2000.0,2012.5,'broke','stall',12.5,25.0,50000000,NULL);
INSERT INTO "attempt" VALUES(2,2,'local','',2000.0,2012.5,'broke','stall',12.5,25.0,50000000,NULL);
INSERT INTO "attempt" VALUES(3,1,'local','',2000.0,2012.5,'encoded',NULL,12.5,25.0,50000000,60.0);
INSERT INTO "attempt" VALUES(4,1,'local','',2000.0,2012.5,'gone',NULL,12.5,25.0,50000000,NULL);
INSERT INTO "attempt" VALUES(5,1,'local','',2000.0,2012.5,'stale',NULL,12.5,25.0,50000000,NULL);
INSERT INTO "attempt" VALUES(6,1,'local','',2000.0,2012.5,'encoded',NULL,12.5,25.0,50000000,61.0);
INSERT INTO "attempt" VALUES(7,1,'local','',2000.0,NULL,NULL,NULL,0.0,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(8,1,'local','',2000.0,2012.5,'interrupted',NULL,12.5,25.0,50000000,NULL);
INSERT INTO "attempt" VALUES(8,2,'local','',2000.0,NULL,NULL,NULL,0.0,NULL,NULL,NULL);
INSERT INTO "attempt" VALUES(9,1,'local','',2000.0,2012.5,'interrupted',NULL,0.0,0.0,50000000,NULL);
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, job INTEGER, kind TEXT NOT NULL,
    from_state TEXT, to_state TEXT, cause TEXT, sentence TEXT
);
INSERT INTO "event" VALUES(1,1001.0,1,'state',NULL,'queued',NULL,NULL);
INSERT INTO "event" VALUES(2,1002.0,1,'state','queued','running',NULL,NULL);
INSERT INTO "event" VALUES(3,1003.0,1,'state','running','delivering',NULL,NULL);
INSERT INTO "event" VALUES(4,1004.0,1,'state','delivering','done',NULL,NULL);
INSERT INTO "event" VALUES(5,1005.0,2,'state',NULL,'queued',NULL,NULL);
INSERT INTO "event" VALUES(6,1006.0,2,'state','queued','running',NULL,NULL);
INSERT INTO "event" VALUES(7,1007.0,2,'state','running','queued','backoff','it stalled');
INSERT INTO "event" VALUES(8,1008.0,2,'state','queued','running',NULL,NULL);
INSERT INTO "event" VALUES(9,1009.0,2,'state','running','delivering','stall','it stalled');
INSERT INTO "event" VALUES(10,1010.0,2,'state','delivering','failed','stall','it stalled');
INSERT INTO "event" VALUES(11,1011.0,3,'state',NULL,'queued',NULL,NULL);
INSERT INTO "event" VALUES(12,1012.0,3,'state','queued','running',NULL,NULL);
INSERT INTO "event" VALUES(13,1013.0,3,'state','running','delivering',NULL,NULL);
INSERT INTO "event" VALUES(14,1014.0,3,'state','delivering','done',NULL,NULL);
INSERT INTO "event" VALUES(15,1015.0,4,'state',NULL,'queued',NULL,NULL);
INSERT INTO "event" VALUES(16,1016.0,4,'state','queued','running',NULL,NULL);
INSERT INTO "event" VALUES(17,1017.0,4,'state','running','withdrawn',NULL,'the original was taken away');
INSERT INTO "event" VALUES(18,1018.0,5,'state',NULL,'queued',NULL,NULL);
INSERT INTO "event" VALUES(19,1019.0,5,'state','queued','running',NULL,NULL);
INSERT INTO "event" VALUES(20,1020.0,5,'state','running','superseded',NULL,'the original changed');
INSERT INTO "event" VALUES(21,1021.0,6,'state',NULL,'queued',NULL,NULL);
INSERT INTO "event" VALUES(22,1022.0,6,'state','queued','running',NULL,NULL);
INSERT INTO "event" VALUES(23,1023.0,6,'state','running','delivering',NULL,NULL);
INSERT INTO "event" VALUES(24,1024.0,7,'state',NULL,'queued',NULL,NULL);
INSERT INTO "event" VALUES(25,1025.0,7,'state','queued','running',NULL,NULL);
INSERT INTO "event" VALUES(26,1026.0,8,'state',NULL,'queued',NULL,NULL);
INSERT INTO "event" VALUES(27,1027.0,8,'state','queued','running',NULL,NULL);
INSERT INTO "event" VALUES(28,1028.0,8,'state','running','queued',NULL,NULL);
INSERT INTO "event" VALUES(29,1029.0,8,'state','queued','running',NULL,NULL);
INSERT INTO "event" VALUES(30,1030.0,9,'state',NULL,'queued',NULL,NULL);
INSERT INTO "event" VALUES(31,1031.0,9,'state','queued','running',NULL,NULL);
INSERT INTO "event" VALUES(32,1032.0,9,'state','running','queued','unmounted','the file system that holds it, or the outbox, is not mounted');
INSERT INTO "event" VALUES(33,1033.0,10,'state',NULL,'queued',NULL,NULL);
INSERT INTO "event" VALUES(34,1034.0,11,'state',NULL,'queued',NULL,NULL);
INSERT INTO "event" VALUES(35,2500.0,NULL,'trouble',NULL,NULL,'space','less than min_free is free');
INSERT INTO "event" VALUES(36,2600.0,NULL,'cleared',NULL,NULL,'space','less than min_free is free');
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source BLOB NOT NULL,
    folder BLOB NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    profile TEXT NOT NULL,
    state TEXT NOT NULL,
    held INTEGER NOT NULL DEFAULT 1,
    attempt INTEGER NOT NULL DEFAULT 0,
    run INTEGER NOT NULL DEFAULT 0,
    stale INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    queued_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    verdict TEXT,
    original BLOB,
    reason TEXT,
    report TEXT,
    request TEXT
, on_success TEXT, priority INTEGER NOT NULL DEFAULT 0, cause TEXT, wait_reason TEXT, warnings TEXT, encode_seconds REAL NOT NULL DEFAULT 0, media_seconds REAL, salvage INTEGER NOT NULL DEFAULT 0, receipt TEXT);
INSERT INTO "job" VALUES(1,X'646F6E652E6D6B76',X'',108,1000000000000000007,'webm','done',0,1,1,0,0.0,1000.0,2000.0,3000.0,'encoded',X'646F6E652E6D6B76',NULL,NULL,NULL,'move',0,NULL,NULL,NULL,12.5,60.0,0,'{"receipt": 1, "facts_in": {"container": "matroska"}}');
INSERT INTO "job" VALUES(2,X'747269702F6661696C65642E6D6F76',X'74726970',115,1000000000000000007,'webm','failed',0,2,2,0,0.0,1000.0,2000.0,3100.0,'failed',X'747269702F6661696C65642E6D6F76','it stalled',NULL,NULL,NULL,0,'stall',NULL,NULL,25.0,NULL,0,'{"receipt": 1}');
INSERT INTO "job" VALUES(3,X'6B6570742E6D7034',X'',108,1000000000000000007,'webm','done',1,1,1,0,0.0,1000.0,2000.0,3000.0,'encoded',NULL,NULL,NULL,NULL,'keep',0,NULL,NULL,'[["track-left-out", "left out: a track of subtitles \udce9"]]',12.5,60.0,0,'{"receipt": 1, "facts_in": {"container": "matroska"}}');
INSERT INTO "job" VALUES(4,X'676F6E652E6D6B76',X'',108,1000000000000000007,'webm','withdrawn',0,1,1,0,0.0,1000.0,2000.0,3300.0,NULL,NULL,'the original was taken away',NULL,NULL,NULL,0,NULL,NULL,NULL,12.5,NULL,0,NULL);
INSERT INTO "job" VALUES(5,X'6368616E6765642E6D6B76',X'',111,1000000000000000007,'webm','superseded',0,1,1,1,0.0,1000.0,2000.0,3400.0,NULL,NULL,'the original changed',NULL,NULL,NULL,0,NULL,NULL,NULL,12.5,NULL,0,NULL);
INSERT INTO "job" VALUES(6,X'6D70342F64656C69766572696E672E617669',X'6D7034',118,1000000000000000007,'webm','delivering',1,1,1,0,0.0,1000.0,2000.0,NULL,'encoded',X'6D70342F64656C69766572696E672E617669',NULL,NULL,NULL,'delete',0,NULL,NULL,NULL,12.5,61.0,0,NULL);
INSERT INTO "job" VALUES(7,X'63616E63656C206D652E6D6B76',X'',113,1000000000000000007,'webm','running',1,1,1,0,0.0,1000.0,2000.0,NULL,NULL,NULL,NULL,NULL,'cancel',NULL,0,NULL,NULL,NULL,0.0,NULL,0,NULL);
INSERT INTO "job" VALUES(8,X'636166E9200A2E6D6B76',X'',110,1000000000000000007,'webm','running',1,1,2,0,0.0,1000.0,2000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,12.5,NULL,0,NULL);
INSERT INTO "job" VALUES(9,X'72756E6E696E672E6D6B76',X'',111,1000000000000000007,'webm','queued',1,0,1,0,99999.0,1000.0,2000.0,NULL,NULL,NULL,'the file system that holds it, or the outbox, is not mounted',NULL,NULL,NULL,0,NULL,'unmounted',NULL,0.0,NULL,0,NULL);
INSERT INTO "job" VALUES(10,X'7175657565642E6D6B76',X'',110,1000000000000000007,'webm','queued',1,0,0,0,0.0,1000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,0.0,NULL,1,NULL);
INSERT INTO "job" VALUES(11,X'C3A974C3A92E6D6B76',X'',109,1000000000000000007,'webm','queued',1,0,0,0,0.0,1000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,0.0,NULL,0,NULL);
CREATE TABLE output (
    job INTEGER NOT NULL, ordinal INTEGER NOT NULL,
    role TEXT NOT NULL, file BLOB NOT NULL, suffix BLOB NOT NULL, name BLOB NOT NULL,
    size INTEGER, state TEXT NOT NULL,
    PRIMARY KEY (job, ordinal)
) WITHOUT ROWID;
INSERT INTO "output" VALUES(1,0,'video',X'6F75747075742E7765626D',X'2E7765626D',X'646F6E652E7765626D',40,'delivered');
INSERT INTO "output" VALUES(3,0,'video',X'6F75747075742E7765626D',X'2E7765626D',X'6B6570742E7765626D',40,'delivered');
INSERT INTO "output" VALUES(6,0,'video',X'6F75747075742E7765626D',X'2E7765626D',X'6D70342F64656C69766572696E67202832292E7765626D',41,'intended');
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
;
INSERT INTO "setting" VALUES('mounts','{"/srv/videos": "/srv"}');
INSERT INTO "setting" VALUES('paused','1');
CREATE TABLE stat (
    day TEXT NOT NULL, profile TEXT NOT NULL, outcome TEXT NOT NULL, cause TEXT NOT NULL,
    jobs INTEGER NOT NULL, input_bytes INTEGER NOT NULL, output_bytes INTEGER NOT NULL,
    media_seconds REAL NOT NULL, encode_seconds REAL NOT NULL, wait_seconds REAL NOT NULL,
    PRIMARY KEY (day, profile, outcome, cause)
) WITHOUT ROWID;
INSERT INTO "stat" VALUES('1970-01-01','webm','done','',2,216,80,120.0,25.0,2000.0);
INSERT INTO "stat" VALUES('1970-01-01','webm','failed','stall',1,115,0,0.0,25.0,1000.0);
CREATE TABLE tally (state TEXT PRIMARY KEY, jobs INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "tally" VALUES('delivering',1);
INSERT INTO "tally" VALUES('done',2);
INSERT INTO "tally" VALUES('failed',1);
INSERT INTO "tally" VALUES('queued',3);
INSERT INTO "tally" VALUES('running',2);
INSERT INTO "tally" VALUES('superseded',1);
INSERT INTO "tally" VALUES('withdrawn',1);
CREATE UNIQUE INDEX job_held ON job (source) WHERE held;
CREATE INDEX job_held_folder ON job (folder, source) WHERE held;
CREATE INDEX job_source ON job (source, id);
CREATE INDEX job_ready ON job (not_before) WHERE state = 'queued' AND request IS NULL;
CREATE INDEX job_request ON job (id) WHERE request IS NOT NULL;
CREATE INDEX job_ended ON job (ended_at) WHERE ended_at IS NOT NULL AND NOT held;
CREATE TRIGGER job_added AFTER INSERT ON job BEGIN
    INSERT INTO tally VALUES (new.state, 1)
        ON CONFLICT (state) DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER job_removed AFTER DELETE ON job BEGIN
    UPDATE tally SET jobs = jobs - 1 WHERE state = old.state;
END;
CREATE TRIGGER job_moved AFTER UPDATE OF state ON job WHEN old.state <> new.state BEGIN
    UPDATE tally SET jobs = jobs - 1 WHERE state = old.state;
    INSERT INTO tally VALUES (new.state, 1)
        ON CONFLICT (state) DO UPDATE SET jobs = jobs + 1;
END;
CREATE INDEX event_job ON event (job) WHERE job IS NOT NULL;
CREATE INDEX event_trouble ON event (at) WHERE job IS NULL;
CREATE TRIGGER event_added AFTER INSERT ON job BEGIN
    INSERT INTO event (at, job, kind, to_state)
        VALUES ((julianday('now') - 2440587.5) * 86400.0, new.id, 'state', new.state);
END;
CREATE TRIGGER event_moved AFTER UPDATE OF state ON job WHEN old.state <> new.state BEGIN
    INSERT INTO event (at, job, kind, from_state, to_state, cause, sentence)
        VALUES ((julianday('now') - 2440587.5) * 86400.0, new.id, 'state', old.state, new.state,
            ifnull(new.cause, new.wait_reason), new.reason);
END;
CREATE TRIGGER job_forgotten AFTER DELETE ON job BEGIN
    DELETE FROM attempt WHERE job = old.id;
    DELETE FROM output WHERE job = old.id;
    DELETE FROM event WHERE job = old.id;
END;
CREATE INDEX job_state ON job (state, id);
CREATE INDEX job_failed_as ON job (original, id) WHERE state = 'failed';
CREATE INDEX job_claim ON job (priority DESC, id) WHERE state = 'queued' AND request IS NULL;
CREATE INDEX job_waiting ON job (wait_reason) WHERE state = 'queued' AND wait_reason IS NOT NULL
;
CREATE INDEX job_warned ON job (id) WHERE state = 'done' AND warnings IS NOT NULL
;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('event',36);
INSERT INTO "sqlite_sequence" VALUES('job',11);
COMMIT;
PRAGMA user_version = 4;
