// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Terms} from "./interfaces/ICodeRegistry.sol";
import {ICustody} from "./interfaces/ICustody.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";

/// @title Custody
/// @notice See ICustody. It moves tokens in and out and keeps what is whose; why money changes hands is the business of
/// whoever inherits it.
abstract contract Custody is ICustody, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    struct Bond {
        uint256 total;
        uint256 locked;
    }

    INodeRegistry internal immutable _nodeRegistry;

    mapping(bytes32 node => mapping(address token => Bond)) private _bonds;

    /// @inheritdoc ICustody
    mapping(address token => mapping(address account => uint256)) public credit;

    constructor(INodeRegistry nodeRegistry) {
        _nodeRegistry = nodeRegistry;
    }

    /// @inheritdoc ICustody
    function depositBond(bytes32 node, address token, uint256 amount) external nonReentrant {
        // Nobody could take it back from a node that is not there.
        require(_operator(node) != address(0), UnknownNode(node));

        _bonds[node][token].total += amount;
        emit BondDeposited(node, token, amount);
        _pull(token, amount);
    }

    /// @inheritdoc ICustody
    function withdrawBond(bytes32 node, address token, uint256 amount) external nonReentrant {
        require(_operator(node) == msg.sender, NotOperator(node, msg.sender));
        Bond storage stored = _bonds[node][token];
        uint256 free = stored.total - stored.locked;
        require(amount <= free, BondMissing(free, amount));

        stored.total -= amount;
        emit BondWithdrawn(node, token, amount);
        IERC20(token).safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc ICustody
    function withdraw(address token) external nonReentrant returns (uint256 amount) {
        amount = credit[token][msg.sender];
        require(amount != 0, NothingToWithdraw());

        credit[token][msg.sender] = 0;
        emit Withdrawn(msg.sender, token, amount);
        IERC20(token).safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc ICustody
    function bond(bytes32 node, address token) external view returns (uint256 total, uint256 locked) {
        Bond storage stored = _bonds[node][token];
        return (stored.total, stored.locked);
    }

    // For whoever inherits it

    /// @dev Keeps the bond that the terms ask for from being withdrawn.
    function _lock(bytes32 node, Terms memory terms) internal {
        Bond storage stored = _bonds[node][terms.token];
        uint256 free = stored.total - stored.locked;
        require(free >= terms.bond, BondMissing(free, terms.bond));
        stored.locked += terms.bond;
    }

    function _unlock(bytes32 node, Terms memory terms) internal {
        _bonds[node][terms.token].locked -= terms.bond;
    }

    /// @dev Takes a locked bond away; whoever calls credits it.
    function _slash(bytes32 node, Terms memory terms) internal {
        Bond storage stored = _bonds[node][terms.token];
        stored.total -= terms.bond;
        stored.locked -= terms.bond;
    }

    /// @dev Owed, not sent: a receiver that reverts can only hurt itself.
    function _credit(address account, address token, uint256 amount) internal {
        if (amount == 0) return;
        credit[token][account] += amount;
        emit Credited(account, token, amount);
    }

    /// @dev From the sender, and all of it: with less, the sum of what is owed would exceed what is here.
    function _pull(address token, uint256 amount) internal {
        if (amount == 0) return;
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        require(received == amount, TransferShort(token, amount, received));
    }

    function _operator(bytes32 node) internal view returns (address operator) {
        (operator,,) = _nodeRegistry.node(node);
    }
}
