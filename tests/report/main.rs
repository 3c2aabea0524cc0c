//! What is made of a record: verdicts, reports in every format, and the documents about them.

mod docs;
mod formats;
mod long;
mod matrix;
mod old;
mod strain;
mod support;
mod verdict;
mod writer;
