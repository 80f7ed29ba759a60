// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {ICodeRegistry, Status, Terms} from "./interfaces/ICodeRegistry.sol";

/// @title CodeRegistry
/// @notice See ICodeRegistry, which is the manual.
contract CodeRegistry is ICodeRegistry {
    struct Approval {
        Status status;
        Terms terms;
    }

    /// @inheritdoc ICodeRegistry
    uint32 public constant MAX_RETURN_SECONDS = 30 days;

    mapping(address collective => mapping(bytes32 manifest => Approval)) private _approvals;

    /// @inheritdoc ICodeRegistry
    mapping(address collective => address) public guardian;

    /// @inheritdoc ICodeRegistry
    function approve(bytes32 manifest, Terms calldata terms, string calldata uri) external {
        Approval storage stored = _approvals[msg.sender][manifest];
        require(stored.status == Status.None, AlreadyDecided(manifest, stored.status));
        require(terms.expiry > block.timestamp, AlreadyExpired(terms.expiry));
        require(terms.maxRuns != 0, NoRuns());
        uint256 bps = uint256(terms.contributorsBps) + terms.nodeBps;
        require(bps <= 10_000, SplitExceedsWhole(bps));
        require(terms.token != address(0) || (terms.price == 0 && terms.bond == 0), TokenMissing());
        require(
            (terms.node == 0) == (terms.returnSeconds == 0) && terms.returnSeconds <= MAX_RETURN_SECONDS,
            HandOffIncomplete(terms.node, terms.returnSeconds)
        );

        stored.status = Status.Approved;
        stored.terms = terms;
        emit CodeApproved(msg.sender, manifest, terms, uri);
    }

    /// @inheritdoc ICodeRegistry
    function revoke(bytes32 manifest) external {
        _revoke(msg.sender, manifest);
    }

    /// @inheritdoc ICodeRegistry
    function guardianRevoke(address collective, bytes32 manifest) external {
        require(msg.sender == guardian[collective], NotGuardian(msg.sender));
        _revoke(collective, manifest);
    }

    /// @inheritdoc ICodeRegistry
    function setGuardian(address guardian_) external {
        guardian[msg.sender] = guardian_;
        emit GuardianSet(msg.sender, guardian_);
    }

    /// @inheritdoc ICodeRegistry
    function approval(address collective, bytes32 manifest) external view returns (Status status, Terms memory terms) {
        Approval storage stored = _approvals[collective][manifest];
        return (stored.status, stored.terms);
    }

    /// @inheritdoc ICodeRegistry
    function isActive(address collective, bytes32 manifest) external view returns (bool) {
        Approval storage stored = _approvals[collective][manifest];
        return stored.status == Status.Approved && block.timestamp < stored.terms.expiry;
    }

    function _revoke(address collective, bytes32 manifest) private {
        Approval storage stored = _approvals[collective][manifest];
        require(stored.status == Status.Approved, NotApproved(manifest));

        stored.status = Status.Revoked;
        emit CodeRevoked(collective, manifest, msg.sender);
    }
}
