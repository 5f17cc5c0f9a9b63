"""The ledger's tables: one text with a version and a history.

Not here: their rows as dataclasses (``rows.py``).
"""

from __future__ import annotations

# Append only: a released statement is never edited; PRAGMA user_version counts those applied.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    # 1, 2026-11: the loop
    (
        """
        CREATE TABLE image (            -- one row per sample ever seen
            sample_id TEXT PRIMARY KEY, -- split + relative stem
            image_sha256 TEXT NOT NULL,
            image_stamp TEXT NOT NULL,  -- size and mtime when it was hashed: unchanged, no new hash
            mask_sha256 TEXT,           -- of the stored file; NULL: no mask yet
            mask_stamp TEXT
        ) STRICT""",
        """
        CREATE TABLE run (
            id INTEGER PRIMARY KEY,
            kind_digest TEXT NOT NULL,  -- of what was asked for: the same command resumes the same run
            state TEXT NOT NULL CHECK (state IN ('running', 'finished', 'failed', 'stopped')),
            recipe TEXT NOT NULL,
            parent_id INTEGER REFERENCES run (id),
            class_digest TEXT NOT NULL,
            started_at TEXT NOT NULL,
            finished_at TEXT,
            val_dice REAL,              -- mDice over the validation split when it was judged
            promoted INTEGER NOT NULL DEFAULT 0 CHECK (promoted IN (0, 1)),
            verdict TEXT                -- why it was promoted or not
        ) STRICT""",
        """
        CREATE TABLE score (            -- one prediction of one run against one version of a mask
            run_id INTEGER NOT NULL REFERENCES run (id),
            sample_id TEXT NOT NULL REFERENCES image (sample_id),
            image_sha256 TEXT NOT NULL,
            mask_sha256 TEXT NOT NULL,
            dice REAL NOT NULL,         -- per-image Dice, see metrics.image_dice
            confusion BLOB NOT NULL,    -- zlib of little-endian int64 (K, K)
            PRIMARY KEY (run_id, sample_id)
        ) STRICT, WITHOUT ROWID""",
        """
        CREATE TABLE task (             -- a plan to annotate, and the CVAT task made from it
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,  -- also the task's name in CVAT, which is how it is found again
            plan_digest TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('planned', 'created', 'uploaded', 'open', 'done', 'lost')),
            source TEXT NOT NULL CHECK (source IN ('prediction', 'ground-truth')),
            run_id INTEGER REFERENCES run (id),
            class_digest TEXT NOT NULL,
            server TEXT NOT NULL,
            cvat_id INTEGER,
            created_at TEXT NOT NULL
        ) STRICT""",
        """
        CREATE TABLE frame (            -- one image of a task
            task_id INTEGER NOT NULL REFERENCES task (id),
            sample_id TEXT NOT NULL REFERENCES image (sample_id),
            name TEXT NOT NULL,         -- file name in CVAT
            score REAL,
            base_sha256 TEXT,           -- mask on disk when it was last in step with CVAT
            pushed_sha256 TEXT NOT NULL,-- mask that the shapes in CVAT made then
            shapes TEXT NOT NULL,       -- JSON list of the digests of those shapes
            state TEXT NOT NULL DEFAULT 'open'
                CHECK (state IN ('open', 'changed', 'accepted', 'deleted', 'kept')),
            PRIMARY KEY (task_id, sample_id)
        ) STRICT, WITHOUT ROWID""",
        """
        CREATE TABLE change (           -- a pull, or the undoing of one
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL CHECK (kind IN ('pull', 'undo')),
            task_id INTEGER REFERENCES task (id),
            undone_by INTEGER REFERENCES change (id),
            made_at TEXT NOT NULL
        ) STRICT""",
        """
        CREATE TABLE mask_change (      -- one mask replaced; both versions lie in the object store
            change_id INTEGER NOT NULL REFERENCES change (id),
            sample_id TEXT NOT NULL REFERENCES image (sample_id),
            old_sha256 TEXT,
            new_sha256 TEXT NOT NULL,
            written INTEGER NOT NULL DEFAULT 0 CHECK (written IN (0, 1)),
            PRIMARY KEY (change_id, sample_id)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX frame_by_sample ON frame (sample_id)",
        "CREATE INDEX unwritten ON mask_change (change_id) WHERE written = 0",
        "CREATE INDEX worst_first ON score (run_id, dice)",
    ),
    # 2, 2026-11: a finer journal of a push, polygons, issues; SQLite changes a CHECK by copying the table
    (
        """
        CREATE TABLE new_task (         -- a plan to annotate, and the CVAT task made from it
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,  -- also the task's name in CVAT, which is how it is found again
            plan_digest TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN (
                'planned', 'created', 'uploaded', 'annotated', 'verified', 'open', 'done', 'lost')),
            source TEXT NOT NULL CHECK (source IN ('prediction', 'ground-truth')),
            run_id INTEGER REFERENCES run (id),
            class_digest TEXT NOT NULL,
            server TEXT NOT NULL,
            cvat_id INTEGER,
            created_at TEXT NOT NULL,
            shape TEXT NOT NULL CHECK (shape IN ('mask', 'polygon')),
            tolerance_px REAL NOT NULL, -- of polygons
            min_region_px INTEGER NOT NULL
        ) STRICT""",
        "INSERT INTO new_task SELECT task.*, 'mask', 0.0, 0 FROM task",
        "DROP TABLE task",
        "ALTER TABLE new_task RENAME TO task",
        # The mask whose shapes were sent at the push; pushed_sha256 moves on with every pull.
        "ALTER TABLE frame ADD COLUMN sent_sha256 TEXT NOT NULL DEFAULT ''",
        "UPDATE frame SET sent_sha256 = pushed_sha256",
        """
        CREATE TABLE issue (            -- an area that annoloop pins on a frame in CVAT
            task_id INTEGER NOT NULL REFERENCES task (id),
            sample_id TEXT NOT NULL REFERENCES image (sample_id),
            number INTEGER NOT NULL,    -- 0, 1, … within the frame, largest first
            message TEXT NOT NULL,
            runs TEXT NOT NULL,         -- its pixels as CVAT mask points, JSON
            cvat_id INTEGER,
            state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'settled', 'resolved')),
            PRIMARY KEY (task_id, sample_id, number)
        ) STRICT, WITHOUT ROWID""",
    ),
    # 3, 2026-11: near-duplicates; first masks, which an undo removes; what a pushed frame's scores looked like
    (
        """
        CREATE TABLE look (             -- how an image looks, in small: it need not be decoded again to be compared
            image_sha256 TEXT PRIMARY KEY,
            bits BLOB NOT NULL,         -- uint8 (32,), see looks.py
            grey BLOB NOT NULL          -- uint8 (32, 32)
        ) STRICT""",
        """
        CREATE TABLE new_mask_change (  -- one mask replaced; all versions lie in the object store
            change_id INTEGER NOT NULL REFERENCES change (id),
            sample_id TEXT NOT NULL REFERENCES image (sample_id),
            old_sha256 TEXT,            -- NULL: there was none
            new_sha256 TEXT,            -- NULL: the file goes
            written INTEGER NOT NULL DEFAULT 0 CHECK (written IN (0, 1)),
            PRIMARY KEY (change_id, sample_id)
        ) STRICT, WITHOUT ROWID""",
        "INSERT INTO new_mask_change SELECT * FROM mask_change",
        "DROP TABLE mask_change",
        "ALTER TABLE new_mask_change RENAME TO mask_change",
        "CREATE INDEX unwritten ON mask_change (change_id) WHERE written = 0",
        "ALTER TABLE frame ADD COLUMN reading TEXT",
    ),
    # 4, 2026-11: what people look at: how far a model believes a label, where a frame is in CVAT, what comes next
    (
        """
        CREATE TABLE belief (           -- of one run about one image and one version of its mask
            run_id INTEGER NOT NULL REFERENCES run (id),
            image_sha256 TEXT NOT NULL,
            mask_sha256 TEXT NOT NULL,  -- empty: of the image alone
            out_of_fold INTEGER NOT NULL CHECK (out_of_fold IN (0, 1)),
            quality REAL,               -- label_quality.label_quality; NULL: nothing to compare with
            certainty REAL,             -- label_quality.certainty
            contradiction REAL,         -- label_quality.contradiction
            PRIMARY KEY (run_id, image_sha256, mask_sha256, out_of_fold)
        ) STRICT, WITHOUT ROWID""",
        """
        CREATE TABLE mark (             -- an image that somebody wants in the next task
            sample_id TEXT PRIMARY KEY REFERENCES image (sample_id),
            made_at TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
        "ALTER TABLE frame ADD COLUMN job INTEGER",  # in CVAT; NULL before it is there
        "ALTER TABLE frame ADD COLUMN number INTEGER",  # of the frame in its task
        "CREATE INDEX changes_of_a_mask ON mask_change (sample_id)",
    ),
    # 5, 2026-11: a million images; an index that holds all of an answer needs no look at the wide rows
    (
        "ALTER TABLE score ADD COLUMN wrong_px INTEGER NOT NULL DEFAULT 0",  # of confusion, see metrics.wrong_px
        "UPDATE score SET wrong_px = wrong_px(confusion)",
        "DROP INDEX worst_first",
        "CREATE INDEX worst_first ON score (run_id, dice, wrong_px DESC, sample_id)",
        "CREATE INDEX frames_by_state ON frame (task_id, state, sample_id)",
        "CREATE INDEX corrected ON frame (sample_id, pushed_sha256, state) WHERE state IN ('changed', 'accepted')",
        "CREATE INDEX tasks_at_work ON task (id, state) WHERE state NOT IN ('done', 'lost')",
        "CREATE INDEX settled ON issue (task_id, state) WHERE state = 'settled'",
        "CREATE INDEX changes_by_time ON change (made_at)",
        """
        CREATE TABLE census (           -- what the folders of a split held when they were last listed
            place TEXT PRIMARY KEY,     -- which folders, and which names in them: JSON
            stamps TEXT NOT NULL,       -- JSON object: of each folder and list, by its path; another, list again
            images INTEGER NOT NULL,
            labelled INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
    ),
    # 6, 2026-11: a second eda reads only what changed
    (
        """
        CREATE TABLE fact (             -- what eda saw in a sample of which both files could be read
            sample_id TEXT PRIMARY KEY,
            stamps TEXT NOT NULL,       -- of its files and of what else the facts depend on; other ones, look again
            image_sha256 TEXT NOT NULL, -- of its look
            facts BLOB NOT NULL         -- see facts_cache.py
        ) STRICT""",
        "CREATE INDEX fact_stamps ON fact (sample_id, stamps)",
    ),
    # 7, 2026-11: labels are pushed, and never lost to a frame that nobody looked at; an undo is remembered
    (
        """
        CREATE TABLE new_task (         -- a plan to annotate, and the CVAT task made from it
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,  -- also the task's name in CVAT, which is how it is found again
            plan_digest TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN (
                'planned', 'created', 'uploaded', 'annotated', 'verified', 'open', 'done', 'lost')),
            source TEXT NOT NULL CHECK (source IN ('prediction', 'label')),
            run_id INTEGER REFERENCES run (id),
            class_digest TEXT NOT NULL,
            server TEXT NOT NULL,
            cvat_id INTEGER,
            created_at TEXT NOT NULL,
            shape TEXT NOT NULL CHECK (shape IN ('mask', 'polygon')),
            tolerance_px REAL NOT NULL, -- of polygons
            min_region_px INTEGER NOT NULL,
            opened_at TEXT              -- when its push was done
        ) STRICT""",
        "INSERT INTO new_task SELECT id, name, plan_digest, state, replace(source, 'ground-truth', 'label'), run_id,"
        " class_digest, server, cvat_id, created_at, shape, tolerance_px, min_region_px, NULL FROM task",
        "DROP TABLE task",
        "ALTER TABLE new_task RENAME TO task",
        "CREATE INDEX tasks_at_work ON task (id, state) WHERE state NOT IN ('done', 'lost')",
        """
        CREATE TABLE new_frame (        -- one image of a task
            task_id INTEGER NOT NULL REFERENCES task (id),
            sample_id TEXT NOT NULL REFERENCES image (sample_id),
            name TEXT NOT NULL,         -- file name in CVAT
            score REAL,
            base_sha256 TEXT,           -- mask on disk when it was last in step with CVAT
            pushed_sha256 TEXT NOT NULL,-- mask that the shapes in CVAT made then
            shapes TEXT NOT NULL,       -- JSON list of the digests of those shapes
            state TEXT NOT NULL DEFAULT 'open' CHECK (state IN (
                'open', 'changed', 'accepted', 'deleted', 'kept',
                'untouched',            -- a prediction over a label, and nobody looked: the label stays
                'undone')),             -- came back, and was undone here: comes back once more only if asked
            sent_sha256 TEXT NOT NULL DEFAULT '', -- mask whose shapes were sent at the push
            reading TEXT,
            job INTEGER,                -- in CVAT; NULL before it is there
            number INTEGER,             -- of the frame in its task
            PRIMARY KEY (task_id, sample_id)
        ) STRICT, WITHOUT ROWID""",
        "INSERT INTO new_frame SELECT task_id, sample_id, name, score, base_sha256, pushed_sha256, shapes, state,"
        " sent_sha256, reading, job, number FROM frame",
        "DROP TABLE frame",
        "ALTER TABLE new_frame RENAME TO frame",
        "CREATE INDEX frame_by_sample ON frame (sample_id)",
        "CREATE INDEX frames_by_state ON frame (task_id, state, sample_id)",
        "CREATE INDEX corrected ON frame (sample_id, pushed_sha256, state) WHERE state IN ('changed', 'accepted')",
        """
        CREATE TABLE new_issue (        -- an area that annoloop pins on a frame in CVAT
            task_id INTEGER NOT NULL REFERENCES task (id),
            sample_id TEXT NOT NULL REFERENCES image (sample_id),
            number INTEGER NOT NULL,    -- 0, 1, … within the frame, largest first
            message TEXT NOT NULL,
            runs TEXT NOT NULL,         -- its pixels as CVAT mask points, JSON
            cvat_id INTEGER,
            state TEXT NOT NULL DEFAULT 'open' CHECK (state IN (
                'open', 'settled', 'resolved',
                'unsettled')),          -- resolved in CVAT by a pull that was undone: CVAT is to hear of it
            settled_by INTEGER REFERENCES change (id), -- the pull that settled it; NULL: it changed no mask
            PRIMARY KEY (task_id, sample_id, number)
        ) STRICT, WITHOUT ROWID""",
        "INSERT INTO new_issue SELECT task_id, sample_id, number, message, runs, cvat_id, state, NULL FROM issue",
        "DROP TABLE issue",
        "ALTER TABLE new_issue RENAME TO issue",
        "CREATE INDEX settled ON issue (task_id, state) WHERE state IN ('settled', 'unsettled')",
        "ALTER TABLE change ADD COLUMN told INTEGER NOT NULL DEFAULT 1",  # 0: an undo of which nobody has heard the end
        "ALTER TABLE run ADD COLUMN config_sha256 TEXT",  # of runs/N/config.py, which is code; NULL: not yet written
    ),
    # 8, 2026-11: reviews, which ask for verdicts on regions; what a model would add to a label travels beside it
    (
        """
        CREATE TABLE new_task (         -- a plan to annotate, and the CVAT task made from it
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,  -- also the task's name in CVAT, which is how it is found again
            plan_digest TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN (
                'planned', 'created', 'uploaded', 'annotated', 'verified', 'open', 'done', 'lost')),
            source TEXT NOT NULL CHECK (source IN ('prediction', 'label', 'both', 'proposals')),
            run_id INTEGER REFERENCES run (id),
            class_digest TEXT NOT NULL,
            server TEXT NOT NULL,
            cvat_id INTEGER,
            created_at TEXT NOT NULL,
            shape TEXT NOT NULL CHECK (shape IN ('mask', 'polygon')),
            tolerance_px REAL NOT NULL, -- of polygons
            min_region_px INTEGER NOT NULL,
            opened_at TEXT              -- when its push was done
        ) STRICT""",
        "INSERT INTO new_task SELECT id, name, plan_digest, state, source, run_id, class_digest, server, cvat_id,"
        " created_at, shape, tolerance_px, min_region_px, opened_at FROM task",
        "DROP TABLE task",
        "ALTER TABLE new_task RENAME TO task",
        "CREATE INDEX tasks_at_work ON task (id, state) WHERE state NOT IN ('done', 'lost')",
        """
        CREATE TABLE proposal (         -- a region on which a model contradicts a label, and what a person says of it
            task_id INTEGER NOT NULL REFERENCES task (id),
            number INTEGER NOT NULL,    -- 1, 2, … in the task, heaviest first
            sample_id TEXT NOT NULL REFERENCES image (sample_id),
            labelled INTEGER NOT NULL,  -- class indices
            becomes INTEGER NOT NULL,
            runs TEXT NOT NULL,         -- its pixels as CVAT mask points, JSON
            confidence REAL NOT NULL,
            weight REAL NOT NULL,
            verdict TEXT NOT NULL DEFAULT 'unanswered' CHECK (verdict IN (
                'unanswered', 'accept', 'reject', 'wrong too')),
            PRIMARY KEY (task_id, number)
        ) STRICT, WITHOUT ROWID""",
        "ALTER TABLE frame ADD COLUMN label_sha256 TEXT",  # the label on disk at the push; NULL: none, or pushed before
        "CREATE INDEX answered ON proposal (sample_id) WHERE verdict IN ('reject', 'wrong too')",
    ),
    # 9, 2026-11: large images are cut into tiles, each a frame in CVAT
    (
        "ALTER TABLE frame ADD COLUMN tiles TEXT",  # JSON list of box and core of each in px, ltrb; NULL: not cut
    ),
)
