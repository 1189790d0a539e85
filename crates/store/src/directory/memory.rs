//! The directory as it is kept in memory, and what it answers. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use base::{AccountId, Domain, EmailAddress, LocalPart, Timestamp};

use super::rights::Rights;
use super::{AliasInfo, AuthorCheck, DomainInfo, Refusal, Resolved, Target, signed};
use crate::copies::Used;

/// Aliases that may lead to each other before it counts as a loop.
const ALIAS_DEPTH_MAX: usize = 10;
/// Look-ups for one address: aliases that all lead to each other's targets, level by level, would
/// take as many as there are paths.
const STEPS_MAX: usize = 10_000;
/// Places to which one address may lead.
const TARGETS_MAX: usize = 1_000;

/// Domains, accounts and addresses.
#[derive(Default)]
pub(crate) struct Directory {
    /// The number of the last change of other nodes that is taken over.
    pub version: i64,
    domains: BTreeMap<Domain, (Timestamp, AuthorCheck)>,
    accounts: BTreeMap<AccountId, Account>,
    /// By [`EmailAddress::key`].
    addresses: BTreeMap<String, Entry>,
}

/// An account as far as look-ups need it.
pub(crate) struct Account {
    /// Its first address.
    pub address: EmailAddress,
    /// As whom it may send besides.
    pub rights: Rights,
    pub enabled: bool,
    /// Told to go.
    pub closed: bool,
    pub admin: bool,
    pub quota: Quota,
    pub used: Used,
}

/// The most that an account's mail may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    pub bytes: Option<i64>,
    pub messages: Option<i64>,
}

impl Quota {
    pub(crate) fn new(bytes: Option<u64>, messages: Option<u64>) -> Self {
        Self {
            bytes: bytes.map(signed),
            messages: messages.map(signed),
        }
    }

    /// Whether there is room for nothing more.
    fn is_full(self, used: Used) -> bool {
        self.bytes.is_some_and(|quota| used.bytes >= quota)
            || self.messages.is_some_and(|quota| used.messages >= quota)
    }
}

enum Entry {
    Account(AccountId),
    Alias {
        address: EmailAddress,
        targets: BTreeSet<EmailAddress>,
    },
}

/// What an address led to, before it is asked who takes mail.
#[derive(Default)]
struct Expansion {
    targets: BTreeSet<Target>,
    looped: bool,
    steps: usize,
}

impl Directory {
    pub(crate) fn set_domain(&mut self, info: &DomainInfo) {
        let about = (info.created_at, info.author_check);
        self.domains.insert(info.domain.clone(), about);
    }

    pub(crate) fn remove_domain(&mut self, domain: &Domain) {
        self.domains.remove(domain);
    }

    pub(crate) fn set_account(&mut self, id: AccountId, account: Account) {
        self.accounts.insert(id, account);
    }

    /// Takes over an account that was changed elsewhere. What it takes is kept where it is known: the
    /// row may have been read before the last commit of this node, and no later change would tell.
    pub(crate) fn renew_account(&mut self, id: AccountId, mut account: Account) {
        if let Some(known) = self.accounts.get(&id) {
            account.used = known.used;
        }
        self.set_account(id, account);
    }

    /// An address of an account.
    pub(crate) fn set_address(&mut self, address: &EmailAddress, id: AccountId) {
        self.addresses.insert(address.key(), Entry::Account(id));
    }

    pub(crate) fn add_alias(&mut self, alias: &EmailAddress, targets: &[EmailAddress]) {
        let entry = self
            .addresses
            .entry(alias.key())
            .or_insert_with(|| Entry::Alias {
                address: alias.clone(),
                targets: BTreeSet::new(),
            });
        if let Entry::Alias { targets: known, .. } = entry {
            known.extend(targets.iter().cloned());
        }
    }

    /// Takes an address or alias out, by its key.
    pub(crate) fn remove_address(&mut self, key: &str) {
        self.addresses.remove(key);
    }

    /// Takes an account out, with its addresses.
    pub(crate) fn remove_account(&mut self, id: AccountId) {
        self.accounts.remove(&id);
        self.addresses
            .retain(|_, entry| !matches!(entry, Entry::Account(of) if *of == id));
    }

    /// Gives an account another address; aliases follow.
    pub(crate) fn rename_account(
        &mut self,
        id: AccountId,
        old: &EmailAddress,
        new: &EmailAddress,
        keep_old: bool,
    ) {
        let old_key = old.key();
        for entry in self.addresses.values_mut() {
            if let Entry::Alias { targets, .. } = entry {
                let count = targets.len();
                targets.retain(|target| target.key() != old_key);
                if targets.len() < count {
                    targets.insert(new.clone());
                }
            }
        }
        self.addresses.remove(&old_key);
        self.addresses.insert(new.key(), Entry::Account(id));
        self.change_account(id, |account| account.address = new.clone());
        if keep_old && old_key != new.key() {
            self.add_alias(old, std::slice::from_ref(new));
        }
    }

    /// Aliases that lead to an address: their keys, and the target as it is written there.
    pub(crate) fn targets_that_name(&self, address: &EmailAddress) -> Vec<(String, String)> {
        let named = address.key();
        let mut found = Vec::new();
        for (key, entry) in &self.addresses {
            if let Entry::Alias { targets, .. } = entry {
                let same = targets.iter().filter(|target| target.key() == named);
                found.extend(same.map(|target| (key.clone(), target.to_string())));
            }
        }
        found
    }

    /// Changes an account, if it is there.
    pub(crate) fn change_account(&mut self, id: AccountId, change: impl FnOnce(&mut Account)) {
        if let Some(account) = self.accounts.get_mut(&id) {
            change(account);
        }
    }

    pub(crate) fn domains(&self) -> Vec<DomainInfo> {
        let all = self.domains.iter();
        all.map(|(domain, (created_at, author_check))| DomainInfo {
            domain: domain.clone(),
            created_at: *created_at,
            author_check: *author_check,
        })
        .collect()
    }

    pub(crate) fn aliases(&self) -> Vec<AliasInfo> {
        let mut found: Vec<AliasInfo> = self
            .addresses
            .values()
            .filter_map(|entry| match entry {
                Entry::Account(_) => None,
                Entry::Alias { address, targets } => Some(AliasInfo {
                    address: address.clone(),
                    targets: targets.iter().cloned().collect(),
                }),
            })
            .collect();
        found.sort_by(|a, b| {
            (&a.address.domain, &a.address.local).cmp(&(&b.address.domain, &b.address.local))
        });
        found
    }

    pub(crate) fn is_ours(&self, domain: &Domain) -> bool {
        self.domains.contains_key(domain)
    }

    /// The admin, else the first account.
    pub(crate) fn postmaster(&self) -> Option<AccountId> {
        let open = || self.accounts.iter().filter(|(_, account)| !account.closed);
        let admin = open().find(|(_, account)| account.admin);
        admin.or_else(|| open().next()).map(|(id, _)| *id)
    }

    pub(crate) fn account_by_address(&self, address: &EmailAddress) -> Option<AccountId> {
        match self.addresses.get(&address.key())? {
            Entry::Account(id) => Some(*id),
            Entry::Alias { targets, .. } => {
                let mut targets = targets.iter();
                let only = targets.next().filter(|_| targets.next().is_none())?;
                match self.addresses.get(&only.key())? {
                    Entry::Account(id) => Some(*id),
                    Entry::Alias { .. } => None,
                }
            }
        }
    }

    /// The account that a login names: by address, or by local part where there is one domain.
    pub(crate) fn login(&self, login: &str) -> Option<AccountId> {
        let address = if login.contains('@') {
            EmailAddress::parse(login).ok()?
        } else {
            let mut domains = self.domains.keys();
            let domain = domains.next().filter(|_| domains.next().is_none())?;
            EmailAddress {
                local: LocalPart::parse(login).ok()?,
                domain: domain.clone(),
            }
        };
        let id = self.account_by_address(&address)?;
        self.accounts
            .get(&id)
            .filter(|account| account.enabled && !account.closed)?;
        Some(id)
    }

    pub(crate) fn resolve(&self, address: &EmailAddress) -> Resolved {
        if !self.is_ours(&address.domain) {
            return Resolved::NotOurs;
        }
        let expansion = self.expand(address);
        let mut refusal = expansion.looped.then_some(Refusal::AliasLoop);
        let mut targets = Vec::with_capacity(expansion.targets.len());
        let mut full = Vec::new();
        for target in expansion.targets {
            match self.refuses(&target) {
                None => targets.push(target),
                Some(why) => {
                    refusal = Some(why);
                    if why == Refusal::OverQuota {
                        full.push(target);
                    }
                }
            }
        }
        if !targets.is_empty() {
            // The letter is taken for the others, so nobody will hear that one of them is full: it
            // must not be lost for that one, and the delivery makes room.
            targets.append(&mut full);
            targets.sort();
        }
        match (targets.is_empty(), refusal) {
            (false, _) => Resolved::Targets(targets),
            (true, Some(refusal)) => Resolved::Refused(refusal),
            (true, None) => Resolved::Unknown,
        }
    }

    /// The accounts to which an address leads.
    pub(crate) fn accounts_of(&self, address: &EmailAddress) -> Vec<AccountId> {
        let targets = self.expand(address).targets.into_iter();
        targets
            .filter_map(|target| match target {
                Target::Account(id) => Some(id),
                Target::Address(_) => None,
            })
            .collect()
    }

    /// Whether mail to an address reaches this target.
    pub(super) fn leads_to(&self, address: &EmailAddress, target: &Target) -> bool {
        self.is_ours(&address.domain) && self.expand(address).targets.contains(target)
    }

    pub(super) fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    pub(super) fn author_check(&self, domain: &Domain) -> AuthorCheck {
        let about = self.domains.get(domain);
        about.map_or(AuthorCheck::default(), |(_, check)| *check)
    }

    pub(super) fn set_author_check(&mut self, domain: &Domain, check: AuthorCheck) {
        if let Some(about) = self.domains.get_mut(domain) {
            about.1 = check;
        }
    }

    fn refuses(&self, target: &Target) -> Option<Refusal> {
        let Target::Account(id) = target else {
            return None;
        };
        let account = self.accounts.get(id)?;
        if account.closed {
            return Some(Refusal::Closed);
        }
        if !account.enabled {
            return Some(Refusal::Disabled);
        }
        let full = account.quota.is_full(account.used);
        full.then_some(Refusal::OverQuota)
    }

    /// Follows aliases to accounts here and addresses elsewhere.
    fn expand(&self, address: &EmailAddress) -> Expansion {
        let mut expansion = Expansion::default();
        self.follow(address, 0, &mut BTreeSet::new(), &mut expansion);
        expansion
    }

    fn follow(
        &self,
        address: &EmailAddress,
        depth: usize,
        path: &mut BTreeSet<String>,
        expansion: &mut Expansion,
    ) {
        expansion.steps += 1;
        if expansion.steps > STEPS_MAX {
            expansion.looped = true;
            return;
        }
        if !self.is_ours(&address.domain) {
            expansion.targets.insert(Target::Address(address.clone()));
            return;
        }
        let Some(found) = self.entry(address) else {
            return;
        };
        match found {
            Found::Account(id) => {
                expansion.targets.insert(Target::Account(id));
            }
            Found::Alias(key, targets) => {
                if depth >= ALIAS_DEPTH_MAX || !path.insert(key.clone()) {
                    expansion.looped = true;
                    return;
                }
                for target in targets {
                    if expansion.targets.len() < TARGETS_MAX {
                        self.follow(target, depth + 1, path, expansion);
                    }
                }
                path.remove(&key);
            }
        }
    }

    /// Exact address or alias, sub-address, postmaster and abuse, catch-all.
    fn entry(&self, address: &EmailAddress) -> Option<Found<'_>> {
        let plain = address.without_tag();
        let named = self
            .found(address.key())
            .or_else(|| self.found(plain.as_ref()?.key()));
        if named.is_some() {
            return named;
        }
        // RFC 5321 §4.5.1, RFC 2142 §2: these exist in every domain.
        let local = plain.as_ref().unwrap_or(address).local.as_str();
        if (local.eq_ignore_ascii_case("postmaster") || local.eq_ignore_ascii_case("abuse"))
            && let Some(id) = self.postmaster()
        {
            return Some(Found::Account(id));
        }
        self.found(format!("*@{}", address.domain))
    }

    fn found(&self, key: String) -> Option<Found<'_>> {
        Some(match self.addresses.get(&key)? {
            Entry::Account(id) => Found::Account(*id),
            Entry::Alias { targets, .. } => Found::Alias(key, targets),
        })
    }
}

enum Found<'a> {
    Account(AccountId),
    Alias(String, &'a BTreeSet<EmailAddress>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap()
    }

    #[test]
    fn a_change_that_was_read_late_hides_nothing_that_was_stored_meanwhile() {
        let account = |messages, at_most| Account {
            address: address("bob@red.test"),
            rights: Rights::new(),
            enabled: true,
            closed: false,
            admin: false,
            quota: Quota {
                bytes: None,
                messages: at_most,
            },
            used: Used { bytes: 0, messages },
        };
        let (mut directory, bob) = (Directory::default(), AccountId(1));
        directory.renew_account(bob, account(0, None));
        directory.change_account(bob, |known| known.used.messages = 1);
        directory.renew_account(bob, account(0, Some(1)));
        let known = &directory.accounts[&bob];
        assert_eq!((known.used.messages, known.quota.messages), (1, Some(1)));
    }

    /// Ten aliases on each of nine levels, each with all of the next level: a billion paths.
    #[test]
    fn a_net_of_aliases_is_given_up() {
        let mut directory = Directory::default();
        directory.set_domain(&DomainInfo {
            domain: Domain::parse("red.test").unwrap(),
            created_at: Timestamp(0),
            author_check: AuthorCheck::default(),
        });
        let name = |level: usize, number: usize| address(&format!("{level}-{number}@red.test"));
        for level in 0..9 {
            let next: Vec<EmailAddress> = (0..10).map(|number| name(level + 1, number)).collect();
            for number in 0..10 {
                directory.add_alias(&name(level, number), &next);
            }
        }
        let resolved = directory.resolve(&name(0, 0));
        assert!(matches!(resolved, Resolved::Refused(Refusal::AliasLoop)));
        // Where the paths are few, they are followed to their end.
        directory.add_alias(&name(9, 0), &[address("bob@blue.test")]);
        let Resolved::Targets(targets) = directory.resolve(&name(8, 0)) else {
            panic!("not resolved");
        };
        assert_eq!(targets, [Target::Address(address("bob@blue.test"))]);
    }
}
