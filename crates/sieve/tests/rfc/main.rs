//! One file for each RFC, with its own examples where it has some; sections are named.

#![expect(clippy::unwrap_used, reason = "a test")]

mod hostile;
mod limits;
mod pigeonhole;
mod regex;
mod rfc3894;
mod rfc5173;
mod rfc5183;
mod rfc5228;
mod rfc5229;
mod rfc5230;
mod rfc5231;
mod rfc5232;
mod rfc5233;
mod rfc5235;
mod rfc5260;
mod rfc5293;
mod rfc5429;
mod rfc5435;
mod rfc5463;
mod rfc5490;
mod rfc5703;
mod rfc6134;
mod rfc6609;
mod rfc7352;
mod scenarios;
mod support;
