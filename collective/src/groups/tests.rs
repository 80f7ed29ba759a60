use proptest::prelude::*;

use super::*;

fn people(count: u8) -> Vec<Member> {
    (0..count).map(|n| member(n, n)).collect()
}

fn member(contributor: u8, leaf: u8) -> Member {
    Member {
        contributor: ContributorId([contributor; 32].into()),
        leaf: Leaf([leaf; 32].into()),
    }
}

/// What may be told of `groups` of `members`, where `earlier` was told before.
fn screened(
    members: &[Member],
    groups: &[&[u32]],
    minimum: u32,
    earlier: &[Told],
) -> (Vec<bool>, Option<Told>) {
    let groups = groups.iter().map(|group| group.to_vec()).collect();
    let mut screening =
        Screening::new(members, members.len() as u64, groups, minimum).expect("good groups");
    earlier.iter().for_each(|told| screening.compare(told));
    screening.finish()
}

fn told(members: &[Member], groups: &[&[u32]], minimum: u32) -> Told {
    let (kept, told) = screened(members, groups, minimum, &[]);
    assert!(kept.iter().all(|kept| *kept));
    told.expect("new groups")
}

#[test]
fn small_groups_are_dropped_and_so_are_those_that_leave_few_out() {
    let all = people(20);
    let kept = |groups: &[&[u32]]| screened(&all, groups, 3, &[]).0;
    assert_eq!(kept(&[&[0, 1, 2], &[3, 4, 5]]), [true, true]);
    // Two in a group of their own, and another two: together they are no fewer than three.
    assert_eq!(kept(&[&[0, 1], &[2, 3], &[4, 5, 6]]), [false, false, true]);
    let but_two: Vec<u32> = (0..18).collect();
    let but_three: Vec<u32> = (0..17).collect();
    let everybody: Vec<u32> = (0..20).collect();
    assert_eq!(kept(&[&but_two]), [false]);
    assert_eq!(kept(&[&but_three]), [true]);
    assert_eq!(kept(&[&everybody]), [true]);
    assert_eq!(kept(&[&[]]), [false], "a group of nobody");
    assert_eq!(screened(&all, &[&[]], 0, &[]), (vec![false], None));
    // Each leaves many out, both together two.
    assert_eq!(kept(&[&but_two[..9], &but_two[9..]]), [false, true]);
    assert_eq!(kept(&[&but_three[..9], &but_three[9..]]), [true, true]);
}

#[test]
fn a_small_group_that_a_total_would_give_away_takes_the_next_one_along() {
    let all = people(20);
    let (kept, told) = screened(&all, &[&[0, 1], &[2, 3, 4], &[5, 6, 7, 8]], 3, &[]);
    assert_eq!(kept, [false, false, true]);
    assert_eq!(told.expect("one group").groups, [[0, 1, 2, 3]]);
    let (kept, told) = screened(&all, &[&[0, 1], &[2, 3, 4]], 3, &[]);
    assert_eq!((kept, told), (vec![false, false], None));
}

#[test]
fn what_differs_by_few_from_what_was_told_is_dropped() {
    let all = people(20);
    let ten: Vec<u32> = (0..10).collect();
    let earlier = [told(&all, &[&ten], 3)];
    let kept = |group: &[u32]| screened(&all, &[group], 3, &earlier).0[0];
    assert!(kept(&ten), "the same again");
    assert!(!kept(&ten[..9]) && !kept(&ten[1..]) && !kept(&ten[..8]));
    assert!(kept(&ten[..7]));
    // One out and one in: two differ.
    assert!(!kept(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 10]));
    assert!(kept(&[10, 11, 12, 13]), "nobody in common");
    // Without what was told, each would pass.
    assert!(screened(&all, &[&ten[..9]], 3, &[]).0[0]);
}

#[test]
fn the_greater_of_both_minimum_groups_counts() {
    let all = people(20);
    let ten: Vec<u32> = (0..10).collect();
    let strict = [told(&all, &[&ten], 5)];
    let lax = [told(&all, &[&ten], 2)];
    let kept = |minimum, earlier| screened(&all, &[&ten[..6]], minimum, earlier).0[0];
    assert!(!kept(2, &strict) && !kept(5, &lax));
    assert!(kept(2, &lax));
}

#[test]
fn a_replaced_record_is_one_contributor_who_differs() {
    let all = people(20);
    let ten: Vec<u32> = (0..10).collect();
    let earlier = [told(&all, &[&ten], 3)];
    let mut replaced = all.clone();
    replaced[4] = member(4, 104);
    assert!(!screened(&replaced, &[&ten], 3, &earlier).0[0]);
    replaced[5] = member(5, 105);
    assert!(!screened(&replaced, &[&ten], 3, &earlier).0[0]);
    replaced[6] = member(6, 106);
    assert!(screened(&replaced, &[&ten], 3, &earlier).0[0]);
}

#[test]
fn who_joined_or_left_since_differs_wherever_their_record_now_stands() {
    let all = people(20);
    let ten: Vec<u32> = (0..10).collect();
    let earlier = [told(&all, &[&ten], 3)];
    // The first one has gone: the others have moved up.
    let nine: Vec<u32> = (0..9).collect();
    assert!(!screened(&all[1..], &[&nine], 3, &earlier).0[0]);
    assert!(screened(&all[3..], &[&nine[..7]], 3, &earlier).0[0]);
}

#[test]
fn what_was_told_before_is_not_kept_again() {
    let all = people(20);
    let earlier = [told(&all, &[&[0, 1, 2], &[3, 4, 5]], 3)];
    let (kept, new) = screened(&all, &[&[0, 1, 2], &[6, 7, 8]], 3, &earlier);
    assert_eq!(kept, [true, true]);
    // Whole: what a later one gives away with it hangs on all its groups.
    let new = new.expect("a new group");
    assert_eq!(new.members, [&all[..3], &all[6..9]].concat());
    let (_, none) = screened(&all, &[&[3, 4, 5]], 3, &earlier);
    assert_eq!(none, None);
    let parts = [told(&all, &[&[0, 1, 2]], 3), told(&all, &[&[3, 4, 5]], 3)];
    let (_, both) = screened(&all, &[&[0, 1, 2], &[3, 4, 5]], 3, &parts);
    assert!(both.is_some(), "each was told, not by one run");
    // Under a greater minimum it says more, and is kept.
    let ten: Vec<u32> = (0..10).collect();
    let lax = [told(&all, &[&ten], 2)];
    assert!(screened(&all, &[&ten], 5, &lax).1.is_some());
}

#[test]
fn groups_that_are_none_are_refused() {
    let all = people(6);
    let refused =
        |members: &[Member], groups: Vec<Vec<u32>>| Screening::new(members, 6, groups, 1).err();
    for groups in [
        vec![vec![0], vec![]],
        vec![vec![6]],
        vec![vec![1, 1]],
        vec![vec![2, 1]],
        vec![vec![1], vec![1]],
    ] {
        assert_eq!(refused(&all, groups), Some(GroupsRefusal::Places));
    }
    let mut twice = all.clone();
    twice[1] = member(0, 9);
    assert_eq!(
        refused(&twice, vec![vec![0, 1]]),
        Some(GroupsRefusal::RepeatedContributor)
    );
    assert_eq!(refused(&all, vec![(0..6).collect()]), None);
    let too_few_read = Screening::new(&all, 2, vec![vec![0, 1, 2]], 1).err();
    assert_eq!(too_few_read, Some(GroupsRefusal::Places));
}

#[test]
fn the_bytes_are_those_of_the_spec() {
    let all = people(3);
    let kept = told(&all, &[&[0, 2], &[1]], 1);
    let bytes = kept.to_bytes();
    assert_eq!(
        Told::parse(&bytes).ok().map(|told| told.groups),
        Some(vec![vec![0, 1], vec![2]])
    );
    assert_eq!(
        crate::id::sha256(&bytes).to_string(),
        "0x50df5ba2170822f5f82ac40e1d48c98c8469e710d60f96cc047df7001fd8cdd2"
    );
    for length in 0..bytes.len() {
        assert!(Told::parse(&bytes[..length]).is_err(), "{length}");
    }
    assert!(Told::parse(&[&bytes[..], &[0]].concat()).is_err());
    assert!(Told::parse(&[0xff; 64]).is_err());
}

#[test]
fn sums_of_groups_are_compared_with_a_group_that_was_told() {
    let all = people(20);
    let upto = |n: u32| (0..n).collect::<Vec<u32>>();
    let earlier = [told(&all, &[&upto(12)], 3)];
    // Each differs by many from the twelve; together they are those and one more, or all but one.
    let (one, other): (Vec<u32>, Vec<u32>) = upto(13).iter().partition(|n| *n % 2 == 0);
    let pair: [&[u32]; 2] = [&one, &other];
    assert_eq!(screened(&all, &pair, 3, &[]).0, [true; 2]);
    assert_eq!(screened(&all, &pair, 3, &earlier), (vec![false; 2], None));
    assert_eq!(screened(&all, &[&one], 3, &earlier).0, [true]);
    let less: [&[u32]; 2] = [&[0, 2, 4, 6, 8, 10], &[1, 3, 5, 7, 9]];
    assert_eq!(screened(&all, &less, 3, &earlier).0, [false; 2]);
    // In the other order it is the same.
    let earlier = [told(&all, &pair, 3)];
    assert_eq!(screened(&all, &[&upto(12)], 3, &earlier).0, [false]);
    assert_eq!(screened(&all, &[&upto(13)], 3, &earlier).0, [true]);
    assert_eq!(screened(&all, &[&upto(10)], 3, &earlier).0, [true]);
}

#[test]
fn two_groupings_of_nearly_the_same_people_are_compared_as_a_whole() {
    let all = people(30);
    let by = |count: u32, groups: u32| -> Vec<Vec<u32>> {
        let group = |key| (0..count).filter(|n| n % groups == key).collect();
        (0..groups).map(group).collect()
    };
    let kept = |of: &[Vec<u32>], earlier: &[Vec<u32>]| {
        let earlier: Vec<&[u32]> = earlier.iter().map(Vec::as_slice).collect();
        let of: Vec<&[u32]> = of.iter().map(Vec::as_slice).collect();
        screened(&all, &of, 3, &[told(&all, &earlier, 3)]).0
    };
    assert_eq!(kept(&by(20, 3), &by(20, 4)), [true; 3]);
    // No group is near to another one, and the totals differ by two.
    assert_eq!(kept(&by(22, 3), &by(20, 4)), [false; 3]);
    assert_eq!(kept(&by(23, 3), &by(20, 4)), [true; 3]);
}

#[test]
fn a_stricter_query_is_told_beside_smaller_groups() {
    let all = people(40);
    let earlier = [told(&all, &[&[0, 1, 2], &[3, 4, 5]], 3)];
    let twenty: Vec<u32> = (6..26).collect();
    assert_eq!(screened(&all, &[&twenty], 10, &earlier).0, [true]);
    let over: Vec<u32> = (0..20).collect();
    assert_eq!(screened(&all, &[&over], 10, &earlier).0, [true]);
    // By as few as the smaller groups have, they may not differ.
    assert_eq!(screened(&all, &[&over[..7]], 7, &earlier).0, [false]);
}

proptest! {
    /// Whatever queries are asked one after another: no group that was let out is small, and no two of them, or one of them
    /// and everybody, differ by few.
    #[test]
    fn no_pair_of_groups_differs_by_few(
        queries in prop::collection::vec(prop::collection::vec(0_u32..4, 24), 1..6),
        minimum in 0_u32..7,
    ) {
        let all = people(24);
        let everybody: Vec<u32> = (0..24).collect();
        let mut earlier = Vec::new();
        let mut let_out: Vec<Vec<u32>> = vec![everybody];
        for keys in queries {
            let group = |key| (0..24).filter(|n| keys[*n as usize] == key).collect::<Vec<u32>>();
            // The key 3 is what a WHERE leaves out.
            let groups: Vec<Vec<u32>> = (0..3).map(group).filter(|group| !group.is_empty()).collect();
            let mut screening = Screening::new(&all, 24, groups.clone(), minimum).expect("groups");
            earlier.iter().for_each(|told| screening.compare(told));
            let (kept, told) = screening.finish();
            earlier.extend(told);
            let kept = groups.iter().zip(&kept).filter(|(_, kept)| **kept);
            let_out.extend(kept.map(|(group, _)| group.clone()));
        }
        for (place, one) in let_out.iter().enumerate() {
            prop_assert!(one.len() as u64 >= u64::from(minimum));
            for other in &let_out[place + 1..] {
                let common = one.iter().filter(|n| other.contains(n)).count();
                let differing = (one.len() + other.len() - 2 * common) as u64;
                prop_assert!(!is_few(differing, minimum), "{one:?} {other:?}");
            }
        }
    }

    /// Two results, taken as often as one likes and with any signs: nobody is left alone, and where nothing is told, somebody would be.
    #[test]
    fn no_sum_of_groups_of_two_results_gives_few_away(
        first in prop::collection::vec(0_u32..4, 14),
        second in prop::collection::vec(0_u32..4, 14),
        replaced in 0_usize..4,
        minimum in 2_u32..5,
    ) {
        let all = people(14);
        let mut since = all.clone();
        for (n, member) in since.iter_mut().enumerate().take(replaced) {
            member.leaf = Leaf([100 + n as u8; 32].into());
        }
        let groups = |keys: &[u32]| -> Vec<Vec<u32>> {
            let group = |key| (0..14).filter(|n| keys[*n as usize] == key).collect::<Vec<u32>>();
            (0..3).map(group).filter(|group| !group.is_empty()).collect()
        };
        let screen = |members, keys: &[u32]| {
            Screening::new(members, 14, groups(keys), minimum).expect("groups")
        };
        let Some(earlier) = screen(&all, &first).finish().1 else { return Ok(()) };
        let alone = screen(&since, &second);
        let ours: Vec<Vec<u32>> = alone.groups.iter().filter(|g| g.kept).map(|g| g.places.clone()).collect();
        let theirs: Vec<Vec<u8>> = earlier.groups.iter().map(|group| {
            group.iter().map(|place| earlier.members[*place as usize].contributor.0[0]).collect()
        }).collect();
        let mut compared = screen(&since, &second);
        compared.compare(&earlier);
        let told = compared.finish().0.iter().any(|kept| *kept);
        // Every group of both counts from -2 to 2 times.
        let count = ours.len() + theirs.len();
        let mut gives_few = false;
        for counts in 0..5_u32.pow(count as u32) {
            let times = |place: usize| (counts / 5_u32.pow(place as u32) % 5) as i32 - 2;
            let mut now = [0; 14];
            let mut before = [0; 14];
            for (place, group) in ours.iter().enumerate() {
                group.iter().for_each(|n| now[*n as usize] += times(place));
            }
            for (place, group) in theirs.iter().enumerate() {
                group.iter().for_each(|n| before[*n as usize] += times(ours.len() + place));
            }
            // Whose figures are left: of those who were replaced, either record's.
            let left = (0..14).filter(|n| match *n < replaced {
                true => now[*n] != 0 || before[*n] != 0,
                false => now[*n] + before[*n] != 0,
            });
            gives_few |= is_few(left.count() as u64, minimum);
        }
        prop_assert!(!told || !gives_few, "{ours:?} {theirs:?}");
        if !ours.is_empty() && alone.groups.iter().all(|group| group.kept) {
            prop_assert_eq!(told, !gives_few, "{:?} {:?}", ours, theirs);
        }
    }
}

#[test]
fn one_who_joins_a_group_is_not_told_by_its_absence() {
    let (before, all) = (people(9), people(10));
    let earlier = [told(&before, &[&[0, 1, 2], &[3, 4, 5], &[6, 7, 8]], 3)];
    let joined: [&[u32]; 3] = [&[0, 1, 2], &[3, 4, 5], &[6, 7, 8, 9]];
    assert_eq!(screened(&all, &joined, 3, &earlier), (vec![false; 3], None));
    assert_eq!(
        screened(&before, &[&[0, 1, 2], &[3, 4, 5], &[6, 7, 8]], 3, &earlier).0,
        [true; 3]
    );
}
