//! How much a script may take. A script beyond a limit does not compile, or its run ends with an
//! error and the letter is kept (RFC 5228 §2.10.6): a limit never loses a letter.

/// The limits of compiling and running. `docs/sieve.md` lists them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a script's text.
    pub script_bytes_max: usize,
    /// Blocks and tests inside each other. RFC 5228 §2.10.5 asks for at least 15 each; more than
    /// [`NESTING_MAX`] counts as that.
    pub nesting_max: usize,
    /// Errors that one compilation reports.
    pub errors_max: usize,
    /// Commands and tests that one run may carry out, those of included scripts too.
    pub steps_max: u64,
    /// Bytes that one run may look at: header values and bodies, once for each key they are
    /// compared with, and texts that are put together. It bounds the time of a run.
    pub work_bytes_max: u64,
    /// Variables with a value (RFC 5229 §6 asks for at least 128), those of all included scripts
    /// together.
    pub variables_max: usize,
    /// Bytes of one variable or match variable; what is longer is cut (RFC 5229 §6 asks for at
    /// least 4,000 characters).
    pub variable_bytes_max: usize,
    /// Bytes of one text with its variables put in, and of one header value.
    pub text_bytes_max: usize,
    /// Bytes of one body or part that a test looks at or `extracttext` takes; the rest is not seen.
    pub body_bytes_max: usize,
    /// Actions of one run.
    pub actions_max: usize,
    /// Redirects of one run, so that a letter does not multiply (RFC 5228 §10).
    pub redirects_max: usize,
    /// Notifications of one run (RFC 5435 §8).
    pub notifications_max: usize,
    /// Header edits, replaced parts and enclosures of one run.
    pub edits_max: usize,
    /// Flags in one list.
    pub flags_max: usize,
    /// Questions that one run may ask its host.
    pub questions_max: usize,
    /// Scripts inside each other by `include` (RFC 6609 §3.2 asks for at least 3). More than
    /// [`INCLUDE_DEPTH_MAX`] counts as that.
    pub include_depth_max: usize,
    /// `include` commands carried out in one run.
    pub includes_max: usize,
    /// Bytes of a compiled regular expression. Matching takes time linear in the text, times the
    /// expression's size at worst.
    pub regex_bytes_max: usize,
    /// Regular expressions in one script: each is kept compiled.
    pub regexes_max: usize,
    /// Regular expressions that are made from variables in one run: each must be compiled.
    pub regexes_made_max: usize,
    /// Bytes of a text that a regular expression looks at; the rest is not seen.
    pub regex_text_bytes_max: usize,
}

/// The deepest nesting that any limit allows: compiling and running go a few calls deeper for each
/// level, and a thread of 2 MiB stack must bear it in an unoptimised build.
pub const NESTING_MAX: usize = 64;

/// The most scripts inside each other that any limit allows; each may nest to [`NESTING_MAX`], but
/// levels are counted over all of them together.
pub const INCLUDE_DEPTH_MAX: usize = 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Scripts that people write have a few KiB, generated ones of long block lists more.
            script_bytes_max: 256 * 1024,
            nesting_max: 32,
            errors_max: 20,
            steps_max: 100_000,
            // A quarter of a second at one byte a nanosecond.
            work_bytes_max: 256 * 1024 * 1024,
            variables_max: 256,
            variable_bytes_max: 8 * 1024,
            text_bytes_max: 64 * 1024,
            body_bytes_max: 4 * 1024 * 1024,
            actions_max: 32,
            redirects_max: 4,
            notifications_max: 4,
            edits_max: 64,
            flags_max: 128,
            questions_max: 64,
            include_depth_max: 10,
            includes_max: 64,
            regex_bytes_max: 256 * 1024,
            regexes_max: 64,
            regexes_made_max: 16,
            regex_text_bytes_max: 64 * 1024,
        }
    }
}

/// Blocks and tests inside each other in a run, over all scripts that include each other.
pub const RUN_NESTING_MAX: usize = 128;
