//! Which faults a world has.

use std::fmt;

/// The kinds of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Slow connections.
    pub latency: bool,
    /// Connections that are reset at any byte.
    pub cut: bool,
    /// Connections on which nothing arrives any more.
    pub half_open: bool,
    /// Pairs of machines between which nothing passes for a while.
    pub partition: bool,
    /// SERVFAIL, and MX records that point elsewhere.
    pub dns: bool,
    /// Servers outside that refuse for a while, or for good, or that close without a reply.
    pub storm: bool,
    /// Machines whose power fails.
    pub crash: bool,
    /// Clocks that jump.
    pub clock: bool,
    /// Disks that are full.
    pub disk: bool,
    /// Disks whose flushes take seconds.
    pub slow: bool,
}

impl Faults {
    /// All of them.
    pub const ALL: Self = Self {
        latency: true,
        cut: true,
        half_open: true,
        partition: true,
        dns: true,
        storm: true,
        crash: true,
        clock: true,
        disk: true,
        slow: true,
    };

    /// Reads `all`, `none`, or names separated by commas.
    ///
    /// # Errors
    /// A name that is none, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        for name in text.split(',').map(str::trim) {
            match name {
                "all" => faults = Self::ALL,
                "none" | "" => {}
                _ => match faults.each().into_iter().find(|(known, _)| *known == name) {
                    Some((_, fault)) => *fault = true,
                    None => {
                        return Err(format!(
                            "no fault is called {name}; there are: {}",
                            Self::names()
                        ));
                    }
                },
            }
        }
        Ok(faults)
    }

    fn names() -> String {
        let mut all = Self::ALL;
        all.each().map(|(name, _)| name).join(", ")
    }

    /// The same faults, each time without another one.
    #[must_use]
    pub fn without_one(self) -> Vec<Self> {
        let mut copy = self;
        let count = copy.each().len();
        (0..count)
            .filter_map(|number| {
                let mut fewer = self;
                let fault = std::mem::take(fewer.each()[number].1);
                fault.then_some(fewer)
            })
            .collect()
    }

    fn each(&mut self) -> [(&'static str, &mut bool); 10] {
        [
            ("latency", &mut self.latency),
            ("cut", &mut self.cut),
            ("half-open", &mut self.half_open),
            ("partition", &mut self.partition),
            ("dns", &mut self.dns),
            ("storm", &mut self.storm),
            ("crash", &mut self.crash),
            ("clock", &mut self.clock),
            ("disk", &mut self.disk),
            ("slow", &mut self.slow),
        ]
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        let mut copy = *self;
        let names: Vec<&str> = copy
            .each()
            .into_iter()
            .filter_map(|(name, fault)| fault.then_some(name))
            .collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_there_and_back() {
        for text in ["none", "cut,half-open", "latency,crash,disk", "all"] {
            assert_eq!(Faults::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Faults::parse("all"), Ok(Faults::ALL));
        assert!(Faults::parse("rain").is_err());
        assert_eq!(Faults::ALL.without_one().len(), 10);
        let one = Faults::parse("cut").unwrap();
        assert_eq!(one.without_one(), [Faults::default()]);
    }
}
