//! Whether reviewers agree: Cohen's kappa between two of them, and of one with oneself.
//!
//! J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20 (1960):
//! kappa = (p_o - p_e) / (1 - p_e), with p_o the share of items judged alike and p_e what independent reviewers with the same shares of
//! verdicts would reach.

use crate::error::StoreError;
use crate::label::Verdict;
use crate::store::Store;
use serde::Serialize;

/// Agreement of two series of verdicts about the same items.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// One reviewer.
    pub first: String,
    /// The other one; the same name when it is about repeated items.
    pub second: String,
    /// Items that both judged.
    pub items: u64,
    /// Items that both judged alike.
    pub alike: u64,
    /// Cohen's kappa, -1 to 1; `null` without items, or when both gave one and the same verdict to everything.
    pub kappa: Option<f64>,
}

/// Cohen's kappa of pairs of verdicts; `None` where it is not defined.
#[must_use]
pub fn cohens_kappa(pairs: &[(Verdict, Verdict)]) -> Option<f64> {
    if pairs.is_empty() {
        return None;
    }
    let count = |chosen: &dyn Fn(&(Verdict, Verdict)) -> bool| pairs.iter().filter(|pair| chosen(pair)).count() as f64;
    let total = pairs.len() as f64;
    let observed = count(&|(one, other)| one == other) / total;
    let share = |verdict| count(&|(one, _)| *one == verdict) / total * (count(&|(_, other)| *other == verdict) / total);
    let expected: f64 = Verdict::ALL.into_iter().map(share).sum();
    (expected < 1.0).then(|| (observed - expected) / (1.0 - expected))
}

fn agreement(first: &str, second: &str, pairs: &[(Verdict, Verdict)]) -> Agreement {
    let alike = pairs.iter().filter(|(one, other)| one == other).count() as u64;
    Agreement { first: first.to_owned(), second: second.to_owned(), items: pairs.len() as u64, alike, kappa: cohens_kappa(pairs) }
}

type Pairs = Vec<(Verdict, Verdict)>;

impl Store {
    /// Agreement of every two reviewers with items in common, and of each with oneself on repeated items. Each one's first standing verdict
    /// about an item counts, against oneself the first and the second.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn agreements(&self) -> Result<Vec<Agreement>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "WITH ranked AS (SELECT item, reviewer, verdict, row_number() OVER (PARTITION BY item, reviewer ORDER BY id) AS place FROM standing)
            SELECT one.reviewer, other.reviewer, one.verdict, other.verdict FROM ranked AS one JOIN ranked AS other ON one.item = other.item
            WHERE one.place = 1
                AND ((one.reviewer < other.reviewer AND other.place = 1) OR (one.reviewer = other.reviewer AND other.place = 2))
            ORDER BY one.reviewer, other.reviewer",
        )?;
        let mut rows = select.query([])?;
        let mut found: Vec<(String, String, Pairs)> = Vec::new();
        while let Some(row) = rows.next()? {
            let (first, second, pair): (String, String, _) = (row.get(0)?, row.get(1)?, (row.get(2)?, row.get(3)?));
            match found.last_mut() {
                Some(last) if last.0 == first && last.1 == second => last.2.push(pair),
                _ => found.push((first, second, vec![pair])),
            }
        }
        Ok(found.iter().map(|(first, second, pairs)| agreement(first, second, pairs)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Anomalous, Normal, Unsure};

    #[test]
    fn kappa_is_cohens() {
        // The 2 x 2 table 20, 5, 10, 15: p_o = 0.7, p_e = 0.5, kappa = 0.4.
        let mut pairs = Vec::new();
        for (count, pair) in [(20, (Anomalous, Anomalous)), (5, (Anomalous, Normal)), (10, (Normal, Anomalous)), (15, (Normal, Normal))] {
            pairs.extend(std::iter::repeat_n(pair, count));
        }
        let kappa = cohens_kappa(&pairs).expect("defined");
        assert!((kappa - 0.4).abs() < 1e-12, "{kappa}");
    }

    #[test]
    fn kappa_is_none_where_it_is_not_defined() {
        assert_eq!(cohens_kappa(&[]), None);
        assert_eq!(cohens_kappa(&[(Normal, Normal); 9]), None);
        assert_eq!(cohens_kappa(&[(Normal, Anomalous), (Anomalous, Normal)]), Some(-1.0));
        assert_eq!(cohens_kappa(&[(Unsure, Unsure), (Normal, Normal)]), Some(1.0));
    }
}
