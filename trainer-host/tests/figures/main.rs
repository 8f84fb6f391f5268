//! Figures against other people's: scikit-learn's, scipy's and numpy's on small sets, and the paper's own tables.

mod metric_golden;

mod published_tables;
