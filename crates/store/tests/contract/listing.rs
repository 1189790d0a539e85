//! Mailing lists in rows; what becomes of letters is tested in `transport`.

use std::time::Duration;

use pennyblack_store::{
    Bounced, ListAddress, ListOptions, ListPart, ListQuestion, MemberState, Posting, Resolved,
    StoreError, Target,
};

use crate::house::{House, address, domain};

/// A list is made, changed and removed; its addresses are taken, before and after the store was
/// opened anew.
#[expect(clippy::too_many_lines, reason = "one story, step by step")]
pub(crate) async fn a_list_and_its_addresses(house: &House) {
    let (store, _, bob) = house.with_people().await;
    let dev = address("dev@red.test");
    let owners = [address("bob@red.test")];
    let options = ListOptions {
        title: "Development".to_owned(),
        posting: Posting::Owners,
        ..ListOptions::default()
    };
    for (name, expected) in [
        ("bob@red.test", StoreError::Exists("address")),
        ("dev@none.test", StoreError::NotFound("domain")),
    ] {
        let list = address(name);
        let made = store.add_list(&list, &owners, options.clone()).await;
        assert_eq!(made, Err(expected));
    }
    for name in ["a+b@red.test", "abcdefghijklmnopqrstuvwxyz@red.test"] {
        let list = address(name);
        let made = store.add_list(&list, &owners, options.clone()).await;
        assert!(matches!(made, Err(StoreError::Invalid(_))), "{name}");
    }
    store
        .add_list(&dev, &owners, options.clone())
        .await
        .unwrap();
    assert!(matches!(
        store.remove_domain(&domain("red.test")).await,
        Err(StoreError::Invalid(_))
    ));
    store.close().await.unwrap();
    drop(store);
    let store = house.open().await;
    let list = |part, tag: &str| {
        let list = ListAddress::new(&dev, part, tag);
        Resolved::Targets(vec![Target::List(list)])
    };
    for (text, expected) in [
        ("Dev@red.test", list(ListPart::Post, "")),
        ("dev+x@red.test", list(ListPart::Post, "")),
        ("dev-bounces+b1-x@red.test", list(ListPart::Bounces, "b1-x")),
        ("DEV-request@red.test", list(ListPart::Request, "")),
        (
            "dev-owner@red.test",
            Resolved::Targets(vec![Target::Account(bob)]),
        ),
        ("dev-other@red.test", Resolved::Unknown),
    ] {
        assert_eq!(
            store.resolve(&address(text)).await.unwrap(),
            expected,
            "{text}"
        );
    }
    let found = store.list(&dev).await.unwrap().unwrap();
    assert_eq!((&found.options, &found.owners[..]), (&options, &owners[..]));
    let more = [address("far@else.test")];
    store.add_list_owners(&dev, &more).await.unwrap();
    store.remove_targets(&dev, &owners).await.unwrap();
    store.set_list(&dev, ListOptions::default()).await.unwrap();
    let found = store.lists().await.unwrap().remove(0);
    assert_eq!(
        (found.owners, found.options),
        (more.to_vec(), ListOptions::default())
    );
    store.remove_list(&dev).await.unwrap();
    assert_eq!(store.resolve(&dev).await.unwrap(), Resolved::Unknown);
    assert_eq!(
        store.remove_list(&dev).await,
        Err(StoreError::NotFound("list"))
    );
    house.finish(store).await;
}

/// Members come, go, and are counted; questions are asked once an hour and answered once.
pub(crate) async fn members_of_a_list(house: &House) {
    let (store, _, _) = house.with_people().await;
    let dev = address("dev@red.test");
    let owners = [address("bob@red.test")];
    let options = ListOptions {
        bounces_max: 1,
        ..ListOptions::default()
    };
    store.add_list(&dev, &owners, options).await.unwrap();
    let people = ["a@x.test", "b@x.test", "A@x.test"].map(address);
    assert_eq!(store.subscribe(&dev, &people).await, Ok(2));
    let none = store.subscribe(&address("no@red.test"), &people).await;
    assert_eq!(none, Err(StoreError::NotFound("list")));
    let members = store.list_members(&dev, 0, 10).await.unwrap();
    let ids: Vec<i64> = members.iter().map(|member| member.id).collect();
    let (first, second) = (ids[0], ids[0] + 1);
    assert_eq!(ids, [first, second]);
    assert_eq!(store.unsubscribe(&dev, &people[..1]).await, Ok(1));
    assert_eq!(store.subscribe(&dev, &people[..1]).await, Ok(1));
    let again = store.list_member(&dev, &people[0]).await.unwrap().unwrap();
    assert_eq!(again.id, first + 2, "a number is never used again");
    let zoe = address("zoe@x.test");
    let (join, leave) = (ListQuestion::Join, ListQuestion::Leave);
    assert_eq!(store.ask_about_list(&dev, &zoe, join, "t1").await, Ok(true));
    assert_eq!(
        store.ask_about_list(&dev, &zoe, join, "t2").await,
        Ok(false)
    );
    house.pass(Duration::from_secs(3_601));
    assert_eq!(store.ask_about_list(&dev, &zoe, join, "t3").await, Ok(true));
    assert_eq!(store.answer_about_list(&dev, "t1").await, Ok(None));
    let joined = store.answer_about_list(&dev, "t3").await;
    assert_eq!(joined, Ok(Some((zoe.clone(), true))));
    assert_eq!(store.answer_about_list(&dev, "t3").await, Ok(None));
    assert_eq!(
        store.ask_about_list(&dev, &zoe, leave, "t4").await,
        Ok(true)
    );
    house.pass(Duration::from_secs(3 * 86_400 + 1));
    assert_eq!(store.answer_about_list(&dev, "t4").await, Ok(None));
    assert_eq!(
        store.count_bounce(&dev, second, "5.1.1").await,
        Ok(Bounced::Suspended)
    );
    assert_eq!(
        store.count_bounce(&dev, second, "5.1.1").await,
        Ok(Bounced::Ignored)
    );
    assert_eq!(
        store.count_bounce(&dev, 99, "5.1.1").await,
        Ok(Bounced::Ignored)
    );
    let info = store.list(&dev).await.unwrap().unwrap();
    assert_eq!((info.members, info.active), (3, 2));
    store
        .set_list_member(&dev, &people[1], MemberState::Active)
        .await
        .unwrap();
    let bob = store
        .list_member_by_id(&dev, second)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((bob.state, bob.bounces), (MemberState::Active, 0));
    house.finish(store).await;
}

/// What somebody is told is no question; numbers of a list that is gone are not used again.
pub(crate) async fn a_list_that_is_made_again(house: &House) {
    let (store, _, _) = house.with_people().await;
    let [dev, zoe] = ["dev@red.test", "zoe@x.test"].map(address);
    let owners = [address("bob@red.test")];
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let options = ListOptions::default();
        store.add_list(&dev, &owners, options).await.unwrap();
        let told = ListQuestion::Told;
        for (token, expected) in [("t0", true), ("t1", false)] {
            let asked = store.ask_about_list(&dev, &zoe, told, token).await;
            assert_eq!(asked, Ok(expected), "{token}");
        }
        assert_eq!(store.answer_about_list(&dev, "t0").await, Ok(None));
        let people = std::slice::from_ref(&zoe);
        assert_eq!(store.subscribe(&dev, people).await, Ok(1));
        let member = store.list_member(&dev, &zoe).await.unwrap().unwrap();
        numbers.push(member.id);
        store.remove_list(&dev).await.unwrap();
        house.pass(Duration::from_secs(1));
    }
    assert!(numbers[0] < numbers[1], "{numbers:?}");
    house.finish(store).await;
}
