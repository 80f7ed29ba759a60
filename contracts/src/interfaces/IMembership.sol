// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

/// @title One member, one vote.
/// @notice A membership is an ERC-721 token that cannot be transferred, whose vote its member holds from the first
/// moment (and may delegate). Only the collective admits and expels; nothing that a contributor does makes a member.
interface IMembership {
    /// @notice The sender is not the collective.
    error NotCollective(address sender);

    /// @notice Without a collective nobody could ever admit or expel.
    error CollectiveMissing();

    /// @notice Memberships cannot be transferred.
    error NotTransferable();

    /// @notice Makes `member` a member; by the collective.
    /// @dev Warning: proposals whose snapshot has passed do not count the new vote.
    function admit(address member) external;

    /// @notice Ends a membership; by the collective.
    /// @dev Warning: proposals whose snapshot has passed still count the vote.
    function expel(address member) external;

    /// @notice Address that admits and expels, normally the timelock.
    function collective() external view returns (address);

    /// @notice Token id of a member's membership: the address as a number.
    function membershipOf(address member) external pure returns (uint256 tokenId);
}
