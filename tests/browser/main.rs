//! Browser peers, and people in browsers of their own: real Chromium and Firefox.

mod bulk;
mod calls;
mod camera;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod doctor;
mod foreign;
mod guard;
mod human;
mod killed;
mod people;
mod people_support;
mod people_trouble;
mod support;
mod trust;
