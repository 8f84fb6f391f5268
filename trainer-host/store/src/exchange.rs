//! Verdicts out and in, as a table (csv) or as JSON lines, one line per line of the log: what comes out here goes in there.
//!
//! Items are named by what their device called them (device, boot, kind, number), since a database's own numbers mean nothing in another.
//! A line that was read before changes nothing (its key is reviewer and request).

use crate::error::StoreError;
use crate::item::ItemKind;
use crate::label::{VERDICT_SECONDS_MAX, Verdict};
use crate::queue::Strategy;
use crate::store::{Store, finite, name, signed, text, unsigned};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};

/// Bytes of the longest line of JSON.
const LINE_BYTES_MAX: u64 = 16 * 1024;

type WriteLine<'w> = Box<dyn FnMut(&LabelLine) -> std::io::Result<()> + 'w>;

/// How verdicts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelFormat {
    /// A table with a heading.
    Csv,
    /// An object per line.
    Json,
}

/// One line of the log as it travels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelLine {
    /// The item's device.
    pub device: String,
    /// Random number of the device's start, in hexadecimal.
    pub boot: String,
    /// Event or sample.
    pub kind: ItemKind,
    /// The event's number, or the sample's record.
    pub number: u64,
    /// The item's camera; for readers, not needed to find it.
    pub camera: String,
    /// Who.
    pub reviewer: String,
    /// What; none when the line takes another one back.
    pub verdict: Option<Verdict>,
    /// Request key of the line that is taken back.
    pub undoes: Option<String>,
    /// Seconds that it took.
    pub seconds: f64,
    /// How the item was chosen.
    pub strategy: Strategy,
    /// Whether the reviewer had judged the item before.
    pub is_repeat: bool,
    /// Bundle revision that had scored.
    pub bundle_revision: u64,
    /// Threshold then.
    pub threshold: Option<f64>,
    /// Score then.
    pub score: f64,
    /// When, milliseconds since 1970.
    pub made_ms: i64,
    /// Key of the request.
    pub request: String,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Lines added.
    pub added: u64,
    /// Lines that were there.
    pub known: u64,
    /// Lines about items that this database does not have.
    pub without_item: u64,
}

impl Store {
    /// Writes the whole log.
    ///
    /// # Errors
    /// [`StoreError::Exchange`], [`StoreError::Database`].
    pub fn export_labels(&self, format: LabelFormat, to: &mut dyn Write) -> Result<u64, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT items.device, items.boot, items.kind, items.number, items.camera, said.reviewer, said.verdict,
            (SELECT request FROM labels AS undone WHERE undone.id = said.undoes), said.seconds, said.strategy, said.is_repeat,
            said.bundle_revision, said.threshold, said.score, said.made_ms, said.request
            FROM labels AS said JOIN items ON items.id = said.item ORDER BY said.id",
        )?;
        let lines = select.query_map([], |row| {
            Ok(LabelLine {
                device: row.get(0)?,
                boot: format!("{:016x}", unsigned(row.get(1)?)),
                kind: ItemKind::from_text(&row.get::<_, String>(2)?).unwrap_or(ItemKind::Sample),
                number: unsigned(row.get(3)?),
                camera: row.get(4)?,
                reviewer: row.get(5)?,
                verdict: row.get(6)?,
                undoes: row.get(7)?,
                seconds: row.get(8)?,
                strategy: row.get(9)?,
                is_repeat: row.get(10)?,
                bundle_revision: unsigned(row.get(11)?),
                threshold: row.get(12)?,
                score: row.get(13)?,
                made_ms: row.get(14)?,
                request: row.get(15)?,
            })
        })?;
        let mut count = 0;
        let mut write: WriteLine<'_> = match format {
            LabelFormat::Csv => {
                let mut table = csv::Writer::from_writer(to);
                Box::new(move |line| table.serialize(line).map_err(std::io::Error::from).and_then(|()| table.flush()))
            }
            LabelFormat::Json => Box::new(move |line| {
                let text = serde_json::to_string(line)?;
                writeln!(to, "{text}")
            }),
        };
        for line in lines {
            write(&line?)?;
            count += 1;
        }
        Ok(count)
    }

    /// Reads a log that [`Store::export_labels`] wrote, here or elsewhere, in one transaction: all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::Import`] names the line; [`StoreError::Exchange`].
    pub fn import_labels(&mut self, format: LabelFormat, from: &mut dyn Read, who: &str, now_ms: i64) -> Result<Imported, StoreError> {
        let transaction = self.write()?;
        let mut imported = Imported::default();
        let wrong = |line: usize, what: &dyn std::fmt::Display| StoreError::Import { line, what: what.to_string() };
        match format {
            LabelFormat::Csv => {
                for (at, line) in csv::Reader::from_reader(from).into_deserialize::<LabelLine>().enumerate() {
                    add(&transaction, &line.map_err(|error| wrong(at + 2, &error))?, at + 2, &mut imported)?;
                }
            }
            LabelFormat::Json => {
                let (mut reader, mut text) = (BufReader::new(from), String::new());
                for at in 1.. {
                    text.clear();
                    if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut text)? == 0 {
                        break;
                    }
                    let line: LabelLine = serde_json::from_str(&text).map_err(|error| wrong(at, &error))?;
                    add(&transaction, &line, at, &mut imported)?;
                }
            }
        }
        let about = format!("{} added, {} known, {} without item", imported.added, imported.known, imported.without_item);
        crate::audit::note(&transaction, now_ms, who, "import labels", &about)?;
        transaction.commit()?;
        Ok(imported)
    }
}

fn add(connection: &Connection, line: &LabelLine, at: usize, imported: &mut Imported) -> Result<(), StoreError> {
    let wrong = |what: String| StoreError::Import { line: at, what };
    let refuse = |error: StoreError| StoreError::Import { line: at, what: error.to_string() };
    name("reviewer", &line.reviewer).map_err(refuse)?;
    text("the request key", &line.request).map_err(refuse)?;
    for value in [Some(line.seconds), Some(line.score), line.threshold].into_iter().flatten() {
        finite("a figure", value).map_err(refuse)?;
    }
    if line.verdict.is_some() == line.undoes.is_some() {
        return Err(wrong("a line holds either a verdict or the request that it takes back".to_owned()));
    }
    let boot = u64::from_str_radix(&line.boot, 16).map_err(|error| wrong(format!("boot: {error}")))?;
    let item: Option<i64> = connection
        .prepare_cached("SELECT id FROM items WHERE device = ?1 AND boot = ?2 AND kind = ?3 AND number = ?4")?
        .query_row(params![line.device, signed(boot), line.kind.as_str(), signed(line.number)], |row| row.get(0))
        .optional()?;
    let Some(item) = item else {
        imported.without_item += 1;
        return Ok(());
    };
    let of_request = "SELECT id FROM labels WHERE reviewer = ?1 AND request = ?2";
    let mut of_request = connection.prepare_cached(of_request)?;
    if of_request.exists([&line.reviewer, &line.request])? {
        imported.known += 1;
        return Ok(());
    }
    let undoes: Option<i64> = match &line.undoes {
        None => None,
        Some(request) => {
            let found = of_request.query_row([&line.reviewer, request], |row| row.get(0)).optional()?;
            Some(found.ok_or_else(|| wrong(format!("it takes back the request {request:?}, which stands in no line before it")))?)
        }
    };
    connection
        .prepare_cached(
            "INSERT INTO labels (item, reviewer, verdict, undoes, seconds, strategy, is_repeat, bundle_revision, threshold, score, made_ms,
            request) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            item,
            line.reviewer,
            line.verdict,
            undoes,
            line.seconds.clamp(0.0, VERDICT_SECONDS_MAX),
            line.strategy,
            line.is_repeat,
            signed(line.bundle_revision),
            line.threshold,
            line.score,
            line.made_ms,
            line.request
        ])
        .map_err(|error| wrong(error.to_string()))?;
    imported.added += 1;
    Ok(())
}
