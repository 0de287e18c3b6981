// Atomic functions: CUDA C++ Programming Guide, "Atomic Functions". All return the old value.
#pragma once

#include <cstdint>
#include <type_traits>

#include "warp_collectives.h"

namespace attn::emulator {

// The compiler's own atomics, reached through a function that is compiled without the memory hooks: the check is made
// once, in before_atomic.
template <class T, class Update>
inline T atomic_update(T* address, Update update) {
    using Bits = std::conditional_t<sizeof(T) == 8, std::uint64_t,
                                    std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint16_t>>;
    static_assert(sizeof(T) == sizeof(Bits) && std::is_trivially_copyable_v<T>);
    before_atomic(address, sizeof(T));
    auto* bits = reinterpret_cast<Bits*>(address);
    Bits expected = __atomic_load_n(bits, __ATOMIC_SEQ_CST);
    while (true) {
        T old;
        __builtin_memcpy(&old, &expected, sizeof old);
        T next = update(old);
        Bits desired;
        __builtin_memcpy(&desired, &next, sizeof desired);
        if (__atomic_compare_exchange_n(bits, &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return old;
    }
}

// The types that CUDA has each function for.
template <class T, class... Types>
concept one_of = (std::is_same_v<T, Types> || ...);
template <class T>
concept atomic_word = one_of<T, int, unsigned, unsigned long long>;
template <class T>
concept atomic_comparable = atomic_word<T> || std::is_same_v<T, long long>;
template <class T>
concept atomic_addable = atomic_word<T> || one_of<T, float, double> ||(sizeof(T) <= 4 && std::is_class_v<T>);

}  // namespace attn::emulator

template <class T>
requires attn::emulator::atomic_addable<T> T atomicAdd(T* address, std::type_identity_t<T> value) {
    return attn::emulator::atomic_update(address, [=](T old) { return T(old + value); });
}
template <class T>
requires attn::emulator::one_of<T, int, unsigned> T atomicSub(T* address, std::type_identity_t<T> value) {
    return attn::emulator::atomic_update(address, [=](T old) { return T(old - value); });
}
template <class T>
requires attn::emulator::one_of<T, int, unsigned, unsigned long long, float> T
atomicExch(T* address, std::type_identity_t<T> value) {
    return attn::emulator::atomic_update(address, [=](T) { return value; });
}
template <class T>
requires attn::emulator::atomic_comparable<T> T atomicMin(T* address, std::type_identity_t<T> value) {
    return attn::emulator::atomic_update(address, [=](T old) { return value < old ? value : old; });
}
template <class T>
requires attn::emulator::atomic_comparable<T> T atomicMax(T* address, std::type_identity_t<T> value) {
    return attn::emulator::atomic_update(address, [=](T old) { return old < value ? value : old; });
}
template <class T>
requires attn::emulator::atomic_word<T> T atomicAnd(T* address, std::type_identity_t<T> value) {
    return attn::emulator::atomic_update(address, [=](T old) { return T(old & value); });
}
template <class T>
requires attn::emulator::atomic_word<T> T atomicOr(T* address, std::type_identity_t<T> value) {
    return attn::emulator::atomic_update(address, [=](T old) { return T(old | value); });
}
template <class T>
requires attn::emulator::atomic_word<T> T atomicXor(T* address, std::type_identity_t<T> value) {
    return attn::emulator::atomic_update(address, [=](T old) { return T(old ^ value); });
}
template <class T>
requires attn::emulator::one_of<T, int, unsigned, unsigned short, unsigned long long> T
atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
    return attn::emulator::atomic_update(address, [=](T old) { return old == compare ? value : old; });
}
inline unsigned atomicInc(unsigned* address, unsigned limit) {
    return attn::emulator::atomic_update(address, [=](unsigned old) { return old >= limit ? 0 : old + 1; });
}
inline unsigned atomicDec(unsigned* address, unsigned limit) {
    return attn::emulator::atomic_update(address,
                                         [=](unsigned old) { return old == 0 || old > limit ? limit : old - 1; });
}
