//! One page that holds everything: answers, tables and figures, without anything from outside.

use crate::experiment::figures::Drawing;
use crate::experiment::settings::Settings;
use crate::experiment::tables::settings_line;

/// The page.
#[must_use]
pub fn page(settings: &Settings, markdown: &str, drawings: &[Drawing]) -> String {
    let figures: String = drawings
        .iter()
        .map(|drawing| format!("<figure aria-label=\"{}\">{}</figure>\n", escape(&drawing.title).replace('"', "&quot;"), drawing.svg))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>ALFred experiment</title>\n<style>{STYLE}</style></head><body>\n\
         <h1>ALFred experiment</h1>\n<p>{}</p>\n{}\n<h2>Figures</h2>\n{figures}</body></html>\n",
        escape(&settings_line(settings)),
        body(markdown)
    )
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1c2733}\
table{border-collapse:collapse;margin:.5rem 0 1.5rem;font-variant-numeric:tabular-nums}td,th{border-bottom:1px solid #d5dce4;padding:.2rem .6rem;text-align:right;white-space:nowrap}\
td:first-child,th:first-child{text-align:left}tr:hover td{background:#f2f6fa}figure{margin:1.5rem 0;overflow-x:auto}div.wide{overflow-x:auto}";

/// Headings, tables, lists and paragraphs: what our own markdown uses.
fn body(markdown: &str) -> String {
    let mut out = String::new();
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with('|') {
            let mut rows = vec![line];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(row);
            }
            out.push_str(&table(&rows));
        } else if let Some(text) = line.strip_prefix("### ") {
            out.push_str(&format!("<h3>{}</h3>\n", escape(text)));
        } else if let Some(text) = line.strip_prefix("## ") {
            out.push_str(&format!("<h2>{}</h2>\n", escape(text)));
        } else if let Some(text) = line.strip_prefix("- ") {
            out.push_str(&format!("<ul><li>{}</li></ul>\n", escape(text)));
        } else if !line.is_empty() {
            out.push_str(&format!("<p>{}</p>\n", escape(line)));
        }
    }
    out
}

fn table(rows: &[&str]) -> String {
    let cells = |row: &str, tag: &str| {
        let inner = row.trim_matches('|').split('|').map(|cell| format!("<{tag}>{}</{tag}>", escape(cell.trim())));
        format!("<tr>{}</tr>\n", inner.collect::<String>())
    };
    let body: String = rows.iter().skip(2).map(|row| cells(row, "td")).collect();
    format!("<div class=\"wide\"><table>\n{}{body}</table></div>\n", rows.first().map_or_else(String::new, |row| cells(row, "th")))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
