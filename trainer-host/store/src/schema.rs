//! Tables and their versions; each step is applied once, in one transaction, in the order of its number.
//!
//! Numbers that are unsigned on the wire (boot, sequence, revision) stand as the signed number with the same 64 bits: equality holds, and
//! order too below 2^63.

/// Marks a file as ours: `ALFD`.
pub(crate) const APPLICATION_ID: i64 = 0x414C_4644;

/// Steps from an empty file to the newest schema; step n leads to version n + 1. Steps are only appended.
pub(crate) const STEPS: [&str; 3] = [VERSION_1, VERSION_2, VERSION_3];

const VERSION_1: &str = "
CREATE TABLE cameras (
    name TEXT PRIMARY KEY,
    added_ms INTEGER NOT NULL,
    -- What its devices shall run; NULL: what they have.
    desired_revision INTEGER,
    -- Whose shadow or trial shall end; NULL: none.
    withdrawn_revision INTEGER,
    is_paused INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE devices (
    name TEXT PRIMARY KEY,
    camera TEXT NOT NULL REFERENCES cameras (name),
    -- 0: it comes from the same machine and proves nothing.
    has_certificate INTEGER NOT NULL,
    is_revoked INTEGER NOT NULL DEFAULT 0,
    enrolled_ms INTEGER NOT NULL,
    seen_ms INTEGER,
    boot INTEGER,
    fingerprint INTEGER,
    bundle_revision INTEGER,
    health TEXT
) STRICT;

CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    device TEXT NOT NULL REFERENCES devices (name),
    boot INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    kind TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    bundle_revision INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (device, boot, sequence)
) STRICT;

-- Records whose id was taken by another content: a device's random numbers met, or somebody forged one.
CREATE TABLE records_aside (
    device TEXT NOT NULL,
    boot INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (device, boot, sequence)
) STRICT;

-- What a person can judge: an event with its segments, or a sample.
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    device TEXT NOT NULL REFERENCES devices (name),
    camera TEXT NOT NULL REFERENCES cameras (name),
    boot INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('event', 'sample')),
    -- The event's number, or the sample's record.
    number INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    person INTEGER NOT NULL,
    first_frame INTEGER NOT NULL,
    last_frame INTEGER NOT NULL,
    score REAL NOT NULL,
    threshold REAL,
    bundle_revision INTEGER NOT NULL,
    has_ended INTEGER NOT NULL,
    parts INTEGER NOT NULL DEFAULT 0,
    received_ms INTEGER NOT NULL,
    wall_unix_ms INTEGER,
    UNIQUE (device, boot, kind, number)
) STRICT;
CREATE INDEX items_by_camera ON items (camera, received_ms);

CREATE TABLE segments (
    item INTEGER NOT NULL REFERENCES items (id),
    part INTEGER NOT NULL,
    record INTEGER NOT NULL UNIQUE REFERENCES records (id),
    PRIMARY KEY (item, part, record)
) STRICT;

CREATE TABLE reviewers (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL CHECK (role IN ('reviewer', 'operator')),
    token_sha256 BLOB NOT NULL UNIQUE,
    added_ms INTEGER NOT NULL,
    is_revoked INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE sessions (
    secret_sha256 BLOB PRIMARY KEY,
    reviewer TEXT NOT NULL REFERENCES reviewers (name),
    guard TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;

-- A log: rows are only added. A row with a verdict says something; a row without takes back the row that it names.
CREATE TABLE labels (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    item INTEGER NOT NULL REFERENCES items (id),
    reviewer TEXT NOT NULL,
    verdict TEXT CHECK (verdict IN ('anomalous', 'normal', 'unsure')),
    undoes INTEGER UNIQUE REFERENCES labels (id),
    seconds REAL NOT NULL,
    strategy TEXT NOT NULL,
    is_repeat INTEGER NOT NULL,
    bundle_revision INTEGER NOT NULL,
    threshold REAL,
    score REAL NOT NULL,
    made_ms INTEGER NOT NULL,
    request TEXT NOT NULL,
    UNIQUE (reviewer, request),
    CHECK ((verdict IS NULL) = (undoes IS NOT NULL))
) STRICT;
CREATE INDEX labels_by_item ON labels (item, reviewer);
CREATE TRIGGER labels_stay BEFORE UPDATE ON labels BEGIN SELECT RAISE(ABORT, 'labels are only added'); END;
CREATE TRIGGER labels_last BEFORE DELETE ON labels BEGIN SELECT RAISE(ABORT, 'labels are only added'); END;

-- Verdicts that were not taken back.
CREATE VIEW standing AS
    SELECT * FROM labels AS said WHERE verdict IS NOT NULL AND NOT EXISTS (SELECT 1 FROM labels AS undo WHERE undo.undoes = said.id);
-- The latest one of each reviewer about each item.
CREATE VIEW current AS
    SELECT * FROM standing AS said
    WHERE NOT EXISTS (SELECT 1 FROM standing AS later WHERE later.item = said.item AND later.reviewer = said.reviewer AND later.id > said.id);

CREATE TABLE models (
    sha256 BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    architecture TEXT NOT NULL,
    bytes BLOB NOT NULL,
    added_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE bundles (
    camera TEXT NOT NULL REFERENCES cameras (name),
    revision INTEGER NOT NULL,
    parent_revision INTEGER NOT NULL,
    fingerprint INTEGER NOT NULL,
    threshold REAL NOT NULL,
    policy TEXT NOT NULL,
    model_sha256 BLOB REFERENCES models (sha256),
    bytes BLOB NOT NULL,
    sha256 BLOB NOT NULL,
    added_by TEXT NOT NULL,
    added_ms INTEGER NOT NULL,
    PRIMARY KEY (camera, revision)
) STRICT;

CREATE TABLE rollouts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    started_by TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'rolled_back'))
) STRICT;

CREATE TABLE rollout_cameras (
    rollout INTEGER NOT NULL REFERENCES rollouts (id),
    camera TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (rollout, camera),
    FOREIGN KEY (camera, revision) REFERENCES bundles (camera, revision)
) STRICT;

-- The newest state of a bundle on a device.
CREATE TABLE deployments (
    device TEXT NOT NULL REFERENCES devices (name),
    revision INTEGER NOT NULL,
    stage TEXT NOT NULL,
    reason INTEGER,
    windows INTEGER NOT NULL,
    flagged INTEGER NOT NULL,
    live_flagged INTEGER NOT NULL,
    disagreements INTEGER NOT NULL,
    faults INTEGER NOT NULL,
    from_frame INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    PRIMARY KEY (device, revision)
) STRICT;

-- Every report, as it came.
CREATE TABLE deployment_reports (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL,
    revision INTEGER NOT NULL,
    stage TEXT NOT NULL,
    reason INTEGER,
    reported_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    about TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_lasts BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
";

/// What the daemon's cycle judged, what it was asked for, and where it stands.
const VERSION_2: &str = "
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    camera TEXT NOT NULL REFERENCES cameras (name),
    -- NULL: no bundle was built.
    revision INTEGER,
    at_ms INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('promoted', 'refused', 'held')),
    reason TEXT NOT NULL,
    policy TEXT NOT NULL,
    threshold REAL,
    eer REAL, eer_low REAL, eer_high REAL,
    ebi REAL, ebi_low REAL, ebi_high REAL,
    auc REAL, auc_low REAL, auc_high REAL,
    fnr REAL, fpr REAL,
    source_ebi REAL,
    validation_events INTEGER NOT NULL,
    validation_normals INTEGER NOT NULL,
    validation_anomalies INTEGER NOT NULL,
    validation_sha256 TEXT NOT NULL,
    labels_used INTEGER NOT NULL
) STRICT;
CREATE INDEX evaluations_by_camera ON evaluations (camera, id);

-- Every item of the validation set as a revision scores it; revision 0: the device's model file.
CREATE TABLE validation_scores (
    camera TEXT NOT NULL REFERENCES cameras (name),
    revision INTEGER NOT NULL,
    item INTEGER NOT NULL,
    is_anomalous INTEGER NOT NULL,
    score REAL NOT NULL,
    PRIMARY KEY (camera, revision, item)
) STRICT, WITHOUT ROWID;

-- What a person asks of the cycle, and what became of it.
CREATE TABLE cycle_requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    camera TEXT NOT NULL REFERENCES cameras (name),
    kind TEXT NOT NULL CHECK (kind IN ('threshold', 'fine_tune', 'promote', 'hold')),
    argument TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    -- NULL: not yet served.
    done_ms INTEGER,
    outcome TEXT,
    CHECK ((done_ms IS NULL) = (outcome IS NULL))
) STRICT;
CREATE INDEX cycle_requests_waiting ON cycle_requests (id) WHERE done_ms IS NULL;

-- Where the cycle of each camera stands.
CREATE TABLE cycle_states (
    camera TEXT PRIMARY KEY REFERENCES cameras (name),
    phase TEXT NOT NULL CHECK (phase IN ('warm_up', 'active_learning')),
    -- Slices that were closed, from 0.
    slice INTEGER NOT NULL,
    -- Items up to this number belong to closed slices.
    item_last INTEGER NOT NULL,
    labels_seen INTEGER NOT NULL,
    is_held INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL
) STRICT;

-- The active-learning validation set; a row that left stays, so that its windows never train.
CREATE TABLE validation_items (
    camera TEXT NOT NULL REFERENCES cameras (name),
    item INTEGER NOT NULL,
    is_anomalous INTEGER NOT NULL,
    -- Frames of the camera that each frame of the item stands for.
    weight REAL NOT NULL,
    -- Slice in which it joined.
    slice INTEGER NOT NULL,
    joined_ms INTEGER NOT NULL,
    left_ms INTEGER,
    PRIMARY KEY (camera, item)
) STRICT, WITHOUT ROWID;
";

/// What the review page needs beyond verdicts: what events are like, skips, snooze rules, queue policies, verdicts about several items.
const VERSION_3: &str = "
-- What an item is like; known once its messages and poses have come.
CREATE TABLE likenesses (
    item INTEGER PRIMARY KEY REFERENCES items (id),
    -- The first item of the same incident; itself when it stands alone.
    incident INTEGER NOT NULL,
    peak_frame INTEGER,
    mean_score REAL,
    anomalous_frames INTEGER,
    -- Mean place and height of the person in pixels.
    x REAL,
    y REAL,
    height REAL,
    -- Pose and movement: f32, little-endian.
    feature BLOB
) STRICT;
CREATE INDEX likenesses_by_incident ON likenesses (incident);

-- Items that a reviewer does not want to see for a while.
CREATE TABLE skips (
    item INTEGER NOT NULL REFERENCES items (id),
    reviewer TEXT NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (item, reviewer)
) STRICT;

-- Recurring false alarms that are not asked about for a while: visible, made by somebody, ending.
CREATE TABLE snoozes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    camera TEXT NOT NULL REFERENCES cameras (name),
    item INTEGER NOT NULL,
    x REAL NOT NULL,
    y REAL NOT NULL,
    radius_px REAL NOT NULL,
    score_max REAL NOT NULL,
    reason TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    ended_by TEXT,
    ended_ms INTEGER
) STRICT;

CREATE TABLE queue_policies (
    camera TEXT PRIMARY KEY REFERENCES cameras (name),
    strategy TEXT NOT NULL,
    labels_per_day INTEGER,
    audit_share REAL NOT NULL,
    repeat_share REAL NOT NULL,
    groups_similar INTEGER NOT NULL
) STRICT;

-- The line whose verdict was given to this item too; NULL: it was judged by itself.
ALTER TABLE labels ADD COLUMN follows INTEGER REFERENCES labels (id);
CREATE INDEX labels_by_follows ON labels (follows) WHERE follows IS NOT NULL;
CREATE INDEX labels_by_time ON labels (made_ms);
CREATE INDEX items_by_event ON items (device, boot, kind, first_frame);

-- Items about which as many reviewers say anomalous as normal.
CREATE VIEW conflicts AS
    SELECT item, sum(verdict = 'anomalous') AS anomalous, sum(verdict = 'normal') AS normal, sum(verdict = 'unsure') AS unsure
    FROM current GROUP BY item HAVING anomalous > 0 AND anomalous = normal;
";
