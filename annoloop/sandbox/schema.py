"""The sandbox's tables, and the views that carry what lists can be filtered by.

Not the ledger of annoloop: it holds what a CVAT server would hold, in ``sandbox.db``. Ids are never
used twice (AUTOINCREMENT), as on a real server; every date is an ISO text in UTC.
"""

from __future__ import annotations

VERSION = 4
"""``PRAGMA user_version`` of these tables."""

TABLES = """
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    username TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL DEFAULT '',
    first_name TEXT NOT NULL DEFAULT '',
    last_name TEXT NOT NULL DEFAULT '',
    password TEXT NOT NULL,                 -- salt:scrypt, both hex
    is_staff INTEGER NOT NULL DEFAULT 0,
    is_active INTEGER NOT NULL DEFAULT 1,
    date_joined TEXT NOT NULL,
    last_login TEXT
) STRICT;

CREATE TABLE secrets (                      -- whatever proves who somebody is, except a password
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('access', 'key', 'session')),
    digest TEXT NOT NULL UNIQUE,            -- sha256 of the value; the value itself is not kept
    csrf TEXT,                              -- sessions only
    name TEXT NOT NULL DEFAULT '',
    read_only INTEGER NOT NULL DEFAULT 0,
    created_date TEXT NOT NULL,
    updated_date TEXT NOT NULL,
    expiry_date TEXT,
    last_used_date TEXT
) STRICT;

CREATE TABLE organizations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    owner_id INTEGER NOT NULL REFERENCES users,
    created_date TEXT NOT NULL,
    updated_date TEXT NOT NULL
) STRICT;

CREATE TABLE projects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    organization_id INTEGER REFERENCES organizations,    -- NULL: the owner's own workspace
    name TEXT NOT NULL,
    owner_id INTEGER NOT NULL REFERENCES users,
    assignee_id INTEGER REFERENCES users,
    assignee_updated_date TEXT,
    bug_tracker TEXT NOT NULL DEFAULT '',
    created_date TEXT NOT NULL,
    updated_date TEXT NOT NULL
) STRICT;

CREATE TABLE tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER REFERENCES projects ON DELETE CASCADE,
    organization_id INTEGER REFERENCES organizations,    -- its project's, if it is in one
    name TEXT NOT NULL,
    owner_id INTEGER NOT NULL REFERENCES users,
    assignee_id INTEGER REFERENCES users,
    assignee_updated_date TEXT,
    bug_tracker TEXT NOT NULL DEFAULT '',
    subset TEXT NOT NULL DEFAULT '',
    overlap INTEGER,
    segment_size INTEGER NOT NULL DEFAULT 0,
    consensus_replicas INTEGER NOT NULL DEFAULT 0,
    size INTEGER,                           -- frames; NULL until the images have arrived
    image_quality INTEGER,
    chunk_size INTEGER,
    chunks_updated_date TEXT,
    created_date TEXT NOT NULL,
    updated_date TEXT NOT NULL
) STRICT;
CREATE INDEX tasks_of_project ON tasks (project_id);

CREATE TABLE labels (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER REFERENCES projects ON DELETE CASCADE,
    task_id INTEGER REFERENCES tasks ON DELETE CASCADE,
    name TEXT NOT NULL,
    color TEXT NOT NULL,
    type TEXT NOT NULL DEFAULT 'any',
    attributes TEXT NOT NULL DEFAULT '[]'   -- as they are answered, with their ids, JSON
) STRICT;
CREATE INDEX labels_of_project ON labels (project_id);
CREATE INDEX labels_of_task ON labels (task_id);

CREATE TABLE frames (
    id INTEGER PRIMARY KEY,
    task_id INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    width INTEGER NOT NULL,                 -- px, after the EXIF orientation
    height INTEGER NOT NULL,
    related TEXT NOT NULL DEFAULT '[]',     -- names of the context images, JSON
    deleted INTEGER NOT NULL DEFAULT 0,
    UNIQUE (task_id, number)
) STRICT;

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
    start_frame INTEGER NOT NULL,
    stop_frame INTEGER NOT NULL,            -- inclusive
    parent_job_id INTEGER REFERENCES jobs ON DELETE CASCADE,    -- of a replica: the job whose frames it repeats
    stage TEXT NOT NULL DEFAULT 'annotation',
    state TEXT NOT NULL DEFAULT 'new',
    assignee_id INTEGER REFERENCES users,
    assignee_updated_date TEXT,
    created_date TEXT NOT NULL,
    updated_date TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_of_task ON jobs (task_id);
CREATE INDEX replicas_of_job ON jobs (parent_job_id);

CREATE TABLE annotations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    label_id INTEGER NOT NULL REFERENCES labels ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('tags', 'shapes', 'tracks')),
    frame INTEGER NOT NULL,
    body TEXT NOT NULL                      -- the JSON object that a GET returns, without both ids
) STRICT;
CREATE INDEX annotations_of_job ON annotations (job_id);
CREATE INDEX annotations_of_label ON annotations (label_id);

CREATE TABLE issues (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    frame INTEGER NOT NULL,
    position TEXT NOT NULL,                 -- x, y, x, y, ... in px, JSON
    owner_id INTEGER NOT NULL REFERENCES users,
    assignee_id INTEGER REFERENCES users,
    resolved INTEGER NOT NULL DEFAULT 0,
    created_date TEXT NOT NULL,
    updated_date TEXT NOT NULL
) STRICT;
CREATE INDEX issues_of_job ON issues (job_id);

CREATE TABLE comments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    issue_id INTEGER NOT NULL REFERENCES issues ON DELETE CASCADE,
    owner_id INTEGER NOT NULL REFERENCES users,
    message TEXT NOT NULL,
    created_date TEXT NOT NULL,
    updated_date TEXT NOT NULL
) STRICT;
CREATE INDEX comments_of_issue ON comments (issue_id);

CREATE TABLE guides (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER UNIQUE REFERENCES projects ON DELETE CASCADE,
    task_id INTEGER UNIQUE REFERENCES tasks ON DELETE CASCADE,
    markdown TEXT NOT NULL DEFAULT '',
    created_date TEXT NOT NULL,
    updated_date TEXT NOT NULL
) STRICT;

CREATE TABLE assets (                       -- pictures of guides
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    guide_id INTEGER NOT NULL REFERENCES guides ON DELETE CASCADE,
    filename TEXT NOT NULL,
    media_type TEXT NOT NULL,
    content BLOB NOT NULL,
    created_date TEXT NOT NULL
) STRICT;

CREATE TABLE requests (                     -- what the server does in the background
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id INTEGER NOT NULL UNIQUE REFERENCES tasks ON DELETE CASCADE,
    owner_id INTEGER NOT NULL REFERENCES users,
    status TEXT NOT NULL DEFAULT 'queued',
    message TEXT NOT NULL DEFAULT '',
    created_date TEXT NOT NULL,
    started_date TEXT,
    finished_date TEXT,
    expiry_date TEXT                        -- from then on nobody remembers it
) STRICT;

CREATE TABLE events (                       -- working time, as the server adds it up
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
    job_id INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    timestamp TEXT NOT NULL,
    duration_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX events_of_task ON events (task_id);
CREATE INDEX events_of_job ON events (job_id);

CREATE TABLE exports (                      -- CSV that was asked for
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL UNIQUE,
    owner_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    content TEXT NOT NULL,
    created_date TEXT NOT NULL
) STRICT;
"""

VIEWS = """
CREATE VIEW job_rows AS
SELECT j.*, t.project_id, t.name AS task_name, p.name AS project_name, u.username AS assignee,
    t.owner_id AS task_owner_id, t.assignee_id AS task_assignee_id, t.bug_tracker, t.chunk_size,
    t.organization_id, n.owner_id AS organization_owner_id, p.owner_id AS project_owner_id,
    CASE WHEN j.parent_job_id IS NULL THEN 'annotation' ELSE 'consensus_replica' END AS type,
    '2d' AS dimension, 'annotation' AS mode,
    (SELECT count(*) FROM jobs r WHERE r.parent_job_id = j.id) AS replica_count,
    CASE WHEN j.stage = 'annotation' THEN 'annotation'
         WHEN j.stage = 'acceptance' AND j.state = 'completed' THEN 'completed'
         ELSE 'validation' END AS status,
    (SELECT count(*) FROM issues i WHERE i.job_id = j.id) AS issue_count,
    (SELECT g.id FROM guides g WHERE g.task_id = t.id OR g.project_id = t.project_id) AS guide_id
FROM jobs j JOIN tasks t ON t.id = j.task_id
LEFT JOIN projects p ON p.id = t.project_id LEFT JOIN users u ON u.id = j.assignee_id
LEFT JOIN organizations n ON n.id = t.organization_id;

CREATE VIEW counted_tasks AS             -- by subselects: a join of counts would count all jobs for one task
SELECT t.*,
    (SELECT count(*) FROM jobs j WHERE j.task_id = t.id) AS job_count,
    (SELECT count(*) FROM jobs j WHERE j.task_id = t.id
      AND j.stage = 'acceptance' AND j.state = 'completed') AS completed_count,
    (SELECT count(*) FROM jobs j WHERE j.task_id = t.id AND j.stage = 'validation') AS validation_count,
    (SELECT count(*) FROM jobs j WHERE j.task_id = t.id AND j.stage = 'annotation') AS annotation_count
FROM tasks t;

CREATE VIEW task_rows AS
SELECT t.*, p.name AS project_name, p.owner_id AS project_owner_id, n.owner_id AS organization_owner_id,
    o.username AS owner, a.username AS assignee,
    CASE WHEN t.size IS NULL THEN '' ELSE 'annotation' END AS mode, '2d' AS dimension,
    CASE WHEN t.job_count = 0 OR t.annotation_count > 0 THEN 'annotation'
         WHEN t.completed_count = t.job_count THEN 'completed' ELSE 'validation' END AS status,
    (SELECT g.id FROM guides g WHERE g.task_id = t.id) AS guide_id
FROM counted_tasks t JOIN users o ON o.id = t.owner_id
LEFT JOIN projects p ON p.id = t.project_id LEFT JOIN users a ON a.id = t.assignee_id
LEFT JOIN organizations n ON n.id = t.organization_id;

CREATE VIEW project_rows AS
SELECT p.*, n.owner_id AS organization_owner_id, o.username AS owner, a.username AS assignee,
    'annotation' AS status,
    (SELECT count(*) FROM tasks t WHERE t.project_id = p.id) AS task_count,
    (SELECT group_concat(DISTINCT t.subset) FROM tasks t
      WHERE t.project_id = p.id AND t.subset <> '') AS subsets,
    (SELECT g.id FROM guides g WHERE g.project_id = p.id) AS guide_id
FROM projects p JOIN users o ON o.id = p.owner_id LEFT JOIN users a ON a.id = p.assignee_id
LEFT JOIN organizations n ON n.id = p.organization_id;

CREATE VIEW issue_rows AS
SELECT i.*, i.frame AS frame_id, j.task_id, o.username AS owner, a.username AS assignee,
    (SELECT count(*) FROM comments c WHERE c.issue_id = i.id) AS comment_count
FROM issues i JOIN jobs j ON j.id = i.job_id JOIN users o ON o.id = i.owner_id
LEFT JOIN users a ON a.id = i.assignee_id;

CREATE VIEW comment_rows AS
SELECT c.*, i.job_id, i.frame AS frame_id, o.username AS owner
FROM comments c JOIN issues i ON i.id = c.issue_id JOIN users o ON o.id = c.owner_id;

CREATE VIEW event_rows AS
SELECT e.*, t.project_id, u.username
FROM events e JOIN tasks t ON t.id = e.task_id JOIN users u ON u.id = e.user_id;

CREATE VIEW request_rows AS
SELECT r.*, t.project_id, t.organization_id, u.username AS owner
FROM requests r JOIN tasks t ON t.id = r.task_id JOIN users u ON u.id = r.owner_id;
"""
