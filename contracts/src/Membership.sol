// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {ERC721Votes} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721Votes.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Time} from "@openzeppelin/contracts/utils/types/Time.sol";

import {IMembership} from "./interfaces/IMembership.sol";

/// @title Membership
/// @notice See IMembership, which is the manual.
contract Membership is IMembership, ERC721Votes {
    /// @inheritdoc IMembership
    address public immutable collective;

    /// @param collective_ who admits and expels, normally the timelock
    /// @param founders first members
    constructor(string memory name, string memory symbol, address collective_, address[] memory founders)
        ERC721(name, symbol)
        EIP712(name, "1")
    {
        require(collective_ != address(0), CollectiveMissing());
        collective = collective_;
        for (uint256 i = 0; i < founders.length; ++i) {
            _admit(founders[i]);
        }
    }

    /// @inheritdoc IMembership
    function admit(address member) external {
        require(msg.sender == collective, NotCollective(msg.sender));
        _admit(member);
    }

    /// @inheritdoc IMembership
    function expel(address member) external {
        require(msg.sender == collective, NotCollective(msg.sender));
        _burn(membershipOf(member));
    }

    /// @inheritdoc IMembership
    function membershipOf(address member) public pure returns (uint256 tokenId) {
        return uint256(uint160(member));
    }

    /// @notice Seconds since the epoch (ERC-6372): block numbers are not time on every chain.
    function clock() public view override returns (uint48) {
        return Time.timestamp();
    }

    // solhint-disable-next-line func-name-mixedcase
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    function _admit(address member) private {
        // Before the mint, so that the vote counts from the first moment; a delegate chosen earlier is kept.
        if (delegates(member) == address(0)) _delegate(member, member);
        _mint(member, membershipOf(member));
    }

    /// @dev Mint and burn only.
    function _update(address to, uint256 tokenId, address auth) internal override returns (address from) {
        from = super._update(to, tokenId, auth);
        require(from == address(0) || to == address(0), NotTransferable());
    }
}
