//! The directory as it is kept in memory, and what it answers. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use base::{AccountId, Domain, EmailAddress, LocalPart};

use super::rights::Rights;
use super::sending::AccountSending;
use super::{
    AddressKind, AliasInfo, AuthorCheck, DomainInfo, GroupInfo, Refusal, Resolved, Senders, Target,
    signed,
};
use crate::copies::Used;
use crate::lists::{ListAddress, ListPart};

/// Aliases that may lead to each other before it counts as a loop.
const ALIAS_DEPTH_MAX: usize = 10;
/// Look-ups for one address: aliases that all lead to each other's targets, level by level, would
/// take as many as there are paths.
const STEPS_MAX: usize = 10_000;
/// Places to which one address may lead.
const TARGETS_MAX: usize = 1_000;

/// RFC 5321 §4.5.1, RFC 2142 §4, §5: what every domain with mail, a DNS and a web server has. Those
/// that nobody was given lead to the admin.
const ROLES: [&str; 6] = [
    "postmaster",
    "abuse",
    "security",
    "noc",
    "hostmaster",
    "webmaster",
];

/// Domains, accounts and addresses.
#[derive(Default)]
pub(crate) struct Directory {
    /// What separates a sub-address.
    pub separator: Option<char>,
    /// The number of the last change of other nodes that is taken over.
    pub version: i64,
    domains: BTreeMap<Domain, DomainInfo>,
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
    pub sending: AccountSending,
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
        kind: AddressKind,
        /// Where it leads: members of a group, owners of a list.
        targets: BTreeSet<EmailAddress>,
    },
}

/// What an address led to, before it is asked who takes mail.
#[derive(Default)]
struct Expansion {
    targets: BTreeSet<Target>,
    /// The groups on the way, by their keys.
    groups: BTreeSet<String>,
    /// Groups are not entered.
    stops_at_groups: bool,
    looped: bool,
    steps: usize,
}

impl Directory {
    pub(crate) fn set_domain(&mut self, info: &DomainInfo) {
        self.domains.insert(info.domain.clone(), info.clone());
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
        self.add_targets(alias, AddressKind::Alias, targets);
    }

    /// Adds places where an address leads, making it if needed; it is of this kind then.
    pub(crate) fn add_targets(
        &mut self,
        alias: &EmailAddress,
        new_kind: AddressKind,
        targets: &[EmailAddress],
    ) {
        let entry = self
            .addresses
            .entry(alias.key())
            .or_insert_with(|| Entry::Alias {
                address: alias.clone(),
                kind: new_kind,
                targets: BTreeSet::new(),
            });
        if let Entry::Alias {
            targets: known,
            kind,
            ..
        } = entry
        {
            *kind = new_kind;
            known.extend(targets.iter().cloned());
        }
    }

    /// Takes targets out of an alias, a group or the owners of a list.
    pub(crate) fn remove_targets(&mut self, key: &str, targets: &[EmailAddress]) {
        let gone: BTreeSet<String> = targets.iter().map(EmailAddress::key).collect();
        if let Some(Entry::Alias { targets, .. }) = self.addresses.get_mut(key) {
            targets.retain(|target| !gone.contains(&target.key()));
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
        self.domains.values().cloned().collect()
    }

    pub(crate) fn aliases(&self) -> Vec<AliasInfo> {
        let mut found: Vec<AliasInfo> = self
            .addresses
            .values()
            .filter_map(|entry| match entry {
                Entry::Alias {
                    address,
                    kind: AddressKind::Alias,
                    targets,
                } => Some(AliasInfo {
                    address: address.clone(),
                    targets: targets.iter().cloned().collect(),
                }),
                Entry::Account(_) | Entry::Alias { .. } => None,
            })
            .collect();
        found.sort_by(|a, b| {
            (&a.address.domain, &a.address.local).cmp(&(&b.address.domain, &b.address.local))
        });
        found
    }

    pub(crate) fn groups(&self) -> Vec<GroupInfo> {
        let mut found: Vec<GroupInfo> = self
            .addresses
            .values()
            .filter_map(|entry| match entry {
                Entry::Alias {
                    address,
                    kind: AddressKind::Group(senders),
                    targets,
                } => Some(GroupInfo {
                    address: address.clone(),
                    members: targets.iter().cloned().collect(),
                    senders: *senders,
                }),
                Entry::Account(_) | Entry::Alias { .. } => None,
            })
            .collect();
        found.sort_by(|a, b| {
            (&a.address.domain, &a.address.local).cmp(&(&b.address.domain, &b.address.local))
        });
        found
    }

    /// The groups that an address leads to, and that not everybody may write to.
    pub(crate) fn is_restricted(&self, address: &EmailAddress) -> bool {
        let expansion = self.expand(address);
        let mut groups = expansion.groups.iter();
        groups.any(|key| {
            matches!(
                self.addresses.get(key),
                Some(Entry::Alias {
                    kind: AddressKind::Group(Senders::Members | Senders::Domain),
                    ..
                })
            )
        })
    }

    /// Whether a letter from this sender may go to an address, as far as groups rule that.
    pub(crate) fn may_send_to(
        &self,
        address: &EmailAddress,
        sender: Option<&EmailAddress>,
    ) -> bool {
        let groups = self.expand(address).groups;
        groups.iter().all(|key| match self.addresses.get(key) {
            Some(Entry::Alias {
                address,
                kind: AddressKind::Group(senders),
                targets,
            }) => match (senders, sender) {
                (Senders::Anyone, _) => true,
                (Senders::Members | Senders::Domain, None) => false,
                (Senders::Domain, Some(sender)) => sender.domain == address.domain,
                (Senders::Members, Some(sender)) => self.is_member(targets, sender),
            },
            Some(Entry::Account(_) | Entry::Alias { .. }) | None => true,
        })
    }

    /// Whether the sender is named, or one of the accounts that are meant.
    fn is_member(&self, members: &BTreeSet<EmailAddress>, sender: &EmailAddress) -> bool {
        let key = sender.key();
        if members.iter().any(|member| member.key() == key) {
            return true;
        }
        let behind = self.expand(sender).targets;
        let accounts = |target: &Target| matches!(target, Target::Account(_));
        members.iter().any(|member| {
            let mut targets = self.expand(member).targets.into_iter();
            targets.any(|target| accounts(&target) && behind.contains(&target))
        })
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
            Entry::Alias {
                kind: AddressKind::Group(_) | AddressKind::List,
                ..
            } => None,
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
                Target::Address(_) | Target::List(_) => None,
            })
            .collect()
    }

    /// Whether mail to an address reaches this target, and not only as one of a group: whoever is in
    /// it speaks for himself and not for all of it.
    pub(super) fn leads_to(&self, address: &EmailAddress, target: &Target) -> bool {
        let mut expansion = Expansion {
            stops_at_groups: true,
            ..Expansion::default()
        };
        self.follow(address, 0, &mut BTreeSet::new(), &mut expansion);
        self.is_ours(&address.domain) && expansion.targets.contains(target)
    }

    pub(super) fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id)
    }

    pub(super) fn author_check(&self, domain: &Domain) -> AuthorCheck {
        let about = self.domains.get(domain);
        about.map_or_else(AuthorCheck::default, |info| info.author_check)
    }

    pub(super) fn set_author_check(&mut self, domain: &Domain, check: AuthorCheck) {
        if let Some(about) = self.domains.get_mut(domain) {
            about.author_check = check;
        }
    }

    pub(super) fn domain(&self, domain: &Domain) -> Option<&DomainInfo> {
        self.domains.get(domain)
    }

    pub(super) fn accounts(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        self.accounts.iter().map(|(id, account)| (*id, account))
    }

    pub(crate) fn set_domain_limits(&mut self, domain: &Domain, limits: crate::SendLimits) {
        if let Some(about) = self.domains.get_mut(domain) {
            about.send_limits = limits;
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
            Found::List(list) => {
                expansion.targets.insert(Target::List(list));
            }
            Found::Alias(key, is_group, targets) => {
                if is_group && expansion.stops_at_groups {
                    return;
                }
                if depth >= ALIAS_DEPTH_MAX || !path.insert(key.clone()) {
                    expansion.looped = true;
                    return;
                }
                if is_group {
                    expansion.groups.insert(key.clone());
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

    /// Exact address or alias, an address of a list, sub-address, role, catch-all.
    fn entry(&self, address: &EmailAddress) -> Option<Found<'_>> {
        let plain = self
            .separator
            .and_then(|separator| address.without_tag(separator));
        let named = self
            .found(address.key())
            .or_else(|| self.found_part(address))
            .or_else(|| self.found(plain.as_ref()?.key()));
        if named.is_some() {
            return named;
        }
        let local = plain.as_ref().unwrap_or(address).local.as_str();
        if ROLES.iter().any(|role| local.eq_ignore_ascii_case(role))
            && let Some(id) = self.postmaster()
        {
            return Some(Found::Account(id));
        }
        self.found(format!("*@{}", address.domain))
    }

    fn found(&self, key: String) -> Option<Found<'_>> {
        Some(match self.addresses.get(&key)? {
            Entry::Account(id) => Found::Account(*id),
            Entry::Alias {
                address,
                kind,
                targets,
            } => match kind {
                AddressKind::Alias => Found::Alias(key, false, targets),
                AddressKind::Group(_) => Found::Alias(key, true, targets),
                AddressKind::List => Found::List(ListAddress::new(address, ListPart::Post, "")),
            },
        })
    }

    /// One of the further addresses of a list.
    fn found_part(&self, address: &EmailAddress) -> Option<Found<'_>> {
        let split = ListAddress::split(address)?;
        let Entry::Alias {
            address: list,
            kind: AddressKind::List,
            targets: owners,
        } = self.addresses.get(&split.list.key())?
        else {
            return None;
        };
        Some(match split.part {
            ListPart::Owner => Found::Alias(address.key(), false, owners),
            part => Found::List(ListAddress::new(list, part, split.tag)),
        })
    }
}

enum Found<'a> {
    Account(AccountId),
    /// The key, whether it is a group, and where it leads.
    Alias(String, bool, &'a BTreeSet<EmailAddress>),
    List(ListAddress),
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
            sending: AccountSending::default(),
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

    /// RFC 2142 §4: a role that nobody was given is the admin's, before the catch-all.
    #[test]
    fn addresses_that_nobody_was_given() {
        let mut directory = Directory {
            separator: Some('-'),
            ..Directory::default()
        };
        directory.set_domain(&DomainInfo {
            domain: Domain::parse("red.test").unwrap(),
            created_at: base::Timestamp(0),
            author_check: AuthorCheck::default(),
            send_limits: crate::SendLimits::default(),
        });
        let account = |admin| Account {
            rights: Rights::new(),
            address: address("x@red.test"),
            sending: AccountSending::default(),
            enabled: true,
            closed: false,
            admin,
            quota: Quota::default(),
            used: Used::default(),
        };
        directory.set_account(AccountId(1), account(true));
        directory.set_account(AccountId(2), account(false));
        directory.set_address(&address("bob@red.test"), AccountId(2));
        directory.add_alias(&address("webmaster@red.test"), &[address("bob@red.test")]);
        directory.add_alias(&address("*@red.test"), &[address("far@else.test")]);
        for (text, expected) in [
            ("hostmaster@red.test", Target::Account(AccountId(1))),
            ("Security-x@red.test", Target::Account(AccountId(1))),
            ("webmaster@red.test", Target::Account(AccountId(2))),
            ("bob-x@red.test", Target::Account(AccountId(2))),
            ("bob+x@red.test", Target::Address(address("far@else.test"))),
            ("any@red.test", Target::Address(address("far@else.test"))),
        ] {
            let found = directory.resolve(&address(text));
            assert_eq!(found, Resolved::Targets(vec![expected]), "{text}");
        }
    }

    /// Ten aliases on each of nine levels, each with all of the next level: a billion paths.
    #[test]
    fn a_net_of_aliases_is_given_up() {
        let mut directory = Directory::default();
        directory.set_domain(&DomainInfo {
            domain: Domain::parse("red.test").unwrap(),
            created_at: base::Timestamp(0),
            author_check: AuthorCheck::default(),
            send_limits: crate::SendLimits::default(),
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
