//! Curve arithmetic of the library on byte strings, generic over the curve.

use p256::elliptic_curve::array::Array;
use p256::elliptic_curve::group::Group;
use p256::elliptic_curve::point::AffineCoordinates;
use p256::elliptic_curve::{
    AffinePoint, CurveArithmetic, FieldBytes as Bytes, NonZeroScalar, ProjectivePoint, Scalar,
    ff::PrimeField,
};
use zeroize::Zeroizing;

use super::{Curve, EccPoint, FieldBytes};
use crate::Error;

/// The point in the library's form.
pub(super) fn affine<C: CurveArithmetic>(point: &EccPoint) -> Result<AffinePoint<C>, Error> {
    let x = bytes::<C>(&point.x)?;
    let y = bytes::<C>(&point.y)?;
    AffinePoint::<C>::from_coordinates(&x, &y).into_option().ok_or(Error::Point)
}

/// Checks that the coordinates are a point.
pub(super) fn check<C: CurveArithmetic>(point: &EccPoint) -> Result<(), Error> {
    affine::<C>(point).map(|_| ())
}

/// The scalar in the library's form, if it is below the order and not zero.
pub(super) fn non_zero<C: CurveArithmetic>(
    number: &[u8],
) -> Result<Zeroizing<NonZeroScalar<C>>, Error> {
    let number = Zeroizing::new(bytes::<C>(number)?);
    NonZeroScalar::<C>::from_repr(Bytes::<C>::clone(&number))
        .into_option()
        .map(Zeroizing::new)
        .ok_or(Error::Value)
}

/// Checks that the number is below the order and not zero.
pub(super) fn check_scalar<C: CurveArithmetic>(number: &[u8]) -> Result<(), Error> {
    non_zero::<C>(number).map(|_| ())
}

/// The scalar in the library's form, if it is below the order.
pub(super) fn scalar<C: CurveArithmetic>(number: &[u8]) -> Result<Zeroizing<Scalar<C>>, Error> {
    let number = Zeroizing::new(bytes::<C>(number)?);
    let scalar = <Scalar<C> as PrimeField>::from_repr(Bytes::<C>::clone(&number));
    scalar.into_option().map(Zeroizing::new).ok_or(Error::Value)
}

pub(super) fn multiply<C: CurveArithmetic>(
    number: &[u8],
    point: &EccPoint,
) -> Result<EccPoint, Error> {
    let scalar = scalar::<C>(number)?;
    let product = ProjectivePoint::<C>::from(affine::<C>(point)?) * *scalar;
    from_projective::<C>(point.curve, product)
}

pub(super) fn multiply_generator<C: CurveArithmetic>(
    curve: Curve,
    number: &[u8],
) -> Result<EccPoint, Error> {
    let scalar = scalar::<C>(number)?;
    from_projective::<C>(curve, ProjectivePoint::<C>::mul_by_generator(&scalar))
}

pub(super) fn add<C: CurveArithmetic>(one: &EccPoint, other: &EccPoint) -> Result<EccPoint, Error> {
    if one.curve != other.curve {
        return Err(Error::Point);
    }
    let sum = ProjectivePoint::<C>::from(affine::<C>(one)?) + affine::<C>(other)?;
    from_projective::<C>(one.curve, sum)
}

pub(super) fn from_projective<C: CurveArithmetic>(
    curve: Curve,
    point: ProjectivePoint<C>,
) -> Result<EccPoint, Error> {
    if bool::from(point.is_identity()) {
        return Err(Error::NoResult);
    }
    let affine: AffinePoint<C> = point.into();
    Ok(EccPoint {
        curve,
        x: FieldBytes::new(affine.x().as_ref())?,
        y: FieldBytes::new(affine.y().as_ref())?,
    })
}

/// A padded number as the library's array.
pub(super) fn bytes<C: CurveArithmetic>(number: &[u8]) -> Result<Bytes<C>, Error> {
    Array::try_from(number).map_err(|_| Error::Size)
}
