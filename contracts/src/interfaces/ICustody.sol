// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.34;

/// @title Money that stands still: bonds of nodes, and credits that wait to be withdrawn.
/// @dev Assumptions on the token, whose breach hurts only those paid in it: it moves exactly the amount asked, does not
/// change balances by itself, and does not refuse the reward distributor.
interface ICustody {
    event BondDeposited(bytes32 indexed node, address indexed token, uint256 amount);
    event BondWithdrawn(bytes32 indexed node, address indexed token, uint256 amount);
    event Credited(address indexed account, address indexed token, uint256 amount);
    event Withdrawn(address indexed account, address indexed token, uint256 amount);

    /// @notice The token did not deliver the amount: it takes a fee or lies.
    error TransferShort(address token, uint256 expected, uint256 received);

    /// @notice The node's free bond is too small.
    error BondMissing(uint256 free, uint256 needed);

    /// @notice The sender does not operate this node.
    error NotOperator(bytes32 node, address sender);

    /// @notice No such node.
    error UnknownNode(bytes32 node);

    /// @notice There is nothing to withdraw.
    error NothingToWithdraw();

    /// @notice Adds to the bond of a node; by anyone.
    function depositBond(bytes32 node, address token, uint256 amount) external;

    /// @notice Takes back bond that no lease has locked; by the operator.
    function withdrawBond(bytes32 node, address token, uint256 amount) external;

    /// @notice Sends the sender's whole credit.
    function withdraw(address token) external returns (uint256 amount);

    /// @notice Bond of a node: all of it, and the part that leases have locked.
    function bond(bytes32 node, address token) external view returns (uint256 total, uint256 locked);

    /// @notice What an account can withdraw.
    function credit(address token, address account) external view returns (uint256);
}
