//! What a world is made from: words of the command line, and back.

use std::fmt;
use std::time::Duration;

use clap::Parser;

use crate::faults::Faults;
use crate::mutation::Mutation;

/// What a world is made from.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Everything that happens by chance follows from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Nodes.
    #[arg(long, default_value_t = 3)]
    pub nodes: usize,
    /// Domains, shared out among the nodes; as many as nodes when not given.
    #[arg(long)]
    pub domains: Option<usize>,
    /// Letters that people send.
    #[arg(long, default_value_t = 20)]
    pub letters: u64,
    /// `all`, `none`, or names separated by commas.
    #[arg(long, default_value = "all", value_parser = Faults::parse)]
    pub faults: Faults,
    /// How long people send, and faults last, in seconds of the world.
    #[arg(long, default_value_t = 480)]
    pub span: u64,
    /// People at each node who send at the same time.
    #[arg(long, default_value_t = 1)]
    pub senders: usize,
    /// The longest pause between two letters of somebody, in milliseconds; when it is not given,
    /// the letters fill the span.
    #[arg(long)]
    pub pause: Option<u64>,
    /// Empty the mailboxes on the way, so that a long run stays small.
    #[arg(long)]
    pub empties: bool,
    /// A deliberate mistake, which should be noticed.
    #[arg(long, default_value = "none", value_parser = Mutation::parse)]
    pub mutation: Mutation,
}

/// For words without a command.
#[derive(Parser, Debug)]
struct Line {
    #[command(flatten)]
    options: Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            nodes: 3,
            domains: None,
            letters: 20,
            faults: Faults::ALL,
            span: 480,
            senders: 1,
            pause: None,
            empties: false,
            mutation: Mutation::None,
        }
    }
}

impl Options {
    /// Reads the words of a command, without the command's name.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn parse(line: &str) -> Result<Self, String> {
        let words = ["sim"].into_iter().chain(line.split_ascii_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(line.options)
    }

    /// How long people send, and faults last.
    #[must_use]
    pub const fn lasting(&self) -> Duration {
        Duration::from_secs(self.span)
    }

    /// The longest pause between two letters of somebody, in milliseconds.
    #[must_use]
    pub fn pause_ms(&self) -> u64 {
        let loops = (self.nodes.max(1) + 1) * self.senders;
        let each = self.letters.div_ceil(loops as u64).max(1);
        // On average half of it passes, and a letter takes its time too.
        let fills = (self.span.saturating_mul(1_500) / each).max(20);
        self.pause.unwrap_or(fills)
    }

    /// The command that runs this world again.
    #[must_use]
    pub fn command(&self) -> String {
        format!("cargo run -p sim -- {self}")
    }
}

/// Everything but what is so without saying it.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Self::default();
        write!(f, "--seed {}", self.seed)?;
        if self.nodes != usual.nodes {
            write!(f, " --nodes {}", self.nodes)?;
        }
        if let Some(domains) = self.domains {
            write!(f, " --domains {domains}")?;
        }
        if self.letters != usual.letters {
            write!(f, " --letters {}", self.letters)?;
        }
        if self.faults != usual.faults {
            write!(f, " --faults {}", self.faults)?;
        }
        if self.span != usual.span {
            write!(f, " --span {}", self.span)?;
        }
        if self.senders != usual.senders {
            write!(f, " --senders {}", self.senders)?;
        }
        if let Some(pause) = self.pause {
            write!(f, " --pause {pause}")?;
        }
        if self.empties {
            f.write_str(" --empties")?;
        }
        if self.mutation != usual.mutation {
            write!(f, " --mutation {}", self.mutation)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_there_and_back() {
        for line in [
            "--seed 1",
            "--seed 9 --nodes 2 --domains 7 --letters 3 --faults cut,crash --span 60",
            "--seed 2 --faults none --senders 4 --pause 1500 --empties --mutation no-fence",
        ] {
            assert_eq!(Options::parse(line).unwrap().to_string(), line);
        }
        assert_eq!(Options::parse("").unwrap(), Options::default());
        assert!(Options::parse("--letters many").is_err());
    }
}
